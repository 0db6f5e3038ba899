"""The class of a failed request's error: few, and the same for the same cause.

An error's text names the status, the message, the address, the seconds: counted as it is, every
failure would be a class of its own. The class is what stands before the first detail.
"""

import re
from collections import Counter
from collections.abc import Iterable

from loadtest.run_records import RequestRecord

MISSED = "missed"
LONGEST = 40  # characters of a class that no rule knows

# What `loadtest/reply.py` and the clients write before a detail, in their words.
_WHOLE = re.compile(
    r"(http \d{3}|timeout|disconnected|connect|error event|not JSON|ended without)\b"
)
_NAMES = {"ended without": "ended without [DONE]"}
_NUMBER = re.compile(r"\d+(\.\d+)?")


def error_class(error: str) -> str:
    """`http 503`, `timeout`, `disconnected` …; of other texts what stands before the first colon,
    with N for every number."""
    known = _WHOLE.match(error)
    if known:
        return _NAMES.get(known[0], known[0])
    head = error.partition(":")[0].strip()
    return _NUMBER.sub("N", head)[:LONGEST] or "no message"


def record_error_class(record: RequestRecord) -> str | None:
    """None for a request that did not fail."""
    if record.missed:
        return MISSED
    return None if record.sample.error is None else error_class(record.sample.error)


def errors_by_class(records: Iterable[RequestRecord]) -> dict[str, int]:
    """The most frequent first, then by name."""
    counts = Counter(found for record in records if (found := record_error_class(record)))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
