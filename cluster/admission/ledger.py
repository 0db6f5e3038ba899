"""The usage ledger's lines: one JSON object for each request that is over, refused ones too.

| field                                       | meaning                                            |
|---------------------------------------------|----------------------------------------------------|
| v                                           | 1: this table                                      |
| at                                          | when it was over, seconds since 1970               |
| id, tenant, model                           | vLLM's id of it, the tenant's name, the model      |
| outcome                                     | answered, failed, cancelled (client gone), refused |
| reason                                      | of a refusal (`RefusalReason`), else ""            |
| prompt_tokens, cached_tokens, output_tokens | as in `cluster.admission.usage`                    |
| engine_s, attempts                          | the same                                           |
| waited_s                                    | in the queue                                       |

There is no text of prompts or answers in it. Readers ignore fields that they do not know; `v` goes
up when one changes its meaning.

    ValueError
    └ LedgerError     a line that is no record: why
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from cluster.admission.usage import Usage

VERSION = 1

Outcome = Literal["answered", "failed", "cancelled", "refused"]


class LedgerError(ValueError):
    """A line that is no record of this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecord:
    """See the module's table; `usage` is flat in the line."""

    at: float
    id: str
    tenant: str
    model: str
    outcome: Outcome
    usage: Usage
    reason: str = ""
    waited_s: float = 0.0

    def line(self) -> str:
        """One line, without its end."""
        fields = asdict(self)
        usage = fields.pop("usage")
        del usage["requests"]  # 1
        return json.dumps({"v": VERSION, **fields, **usage}, separators=(",", ":"))


def parse_line(line: str) -> LedgerRecord:
    """The record in a line. Raises LedgerError."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise LedgerError(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        raise LedgerError(f"no record of version {VERSION}: {line[:80]!r}")
    usage = {name: fields.pop(name) for name in _USAGE if name in fields}
    try:
        return _RECORD.validate_python({**fields, "usage": {"requests": 1, **usage}})
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LedgerError(f"{where}: {first['msg']}") from None


_USAGE = [name for name in Usage.__dataclass_fields__ if name != "requests"]
_RECORD = TypeAdapter(LedgerRecord)  # a dataclass: fields that it lacks are ignored
