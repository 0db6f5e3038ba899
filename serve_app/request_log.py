"""One line in the gateway's log for each request that is over: who asked, what it used, how long it
took and where it was. JSON after the log's own beginning, no text of prompts or answers, and the
request's id as vLLM logs it and as the client has it (the answer's `id`, and `x-request-id`).

    request {"id": "chatcmpl-…", "tenant": "search", "model": "llama", "outcome": "served", …}
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import Any

from serve_app.served_request import ServedRequest

logger = logging.getLogger("tokenfleet.requests")


def log(served: ServedRequest) -> None:
    """A request is over."""
    if logger.isEnabledFor(logging.INFO):
        logger.info("request %s", json.dumps(fields(served), separators=(",", ":")))


def fields(served: ServedRequest) -> dict[str, Any]:
    """Of its line. Seconds to the tenth of a millisecond; what is not known, or empty, is left
    out."""
    usage = asdict(served.usage)
    del usage["requests"]
    usage["engine_s"] = _rounded(served.usage.engine_s)
    found = {
        "id": served.request_id,
        "tenant": served.tenant,
        "model": served.model,
        "outcome": served.outcome,
        "reason": served.reason,
        **usage,
        "waited_s": _rounded(served.waited_s),
        "ttft_s": _rounded(served.ttft_s),
        "tpot_s": _rounded(served.tpot_s),
        "took_s": _rounded(served.took_s),
        "engines": list(served.engines),
    }
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
