"""Request records made up for tests."""

from typing import Any

from loadtest.metrics import RequestSample
from loadtest.run_records import RequestRecord


def record(
    due_s: float = 0.0,
    *,
    lag_s: float = 0.0,
    ttft_s: float = 0.1,
    gap_s: float = 0.02,
    tokens: int = 5,
    error: str | None = None,
    **fields: Any,
) -> RequestRecord:
    """A request with one content chunk a token, `gap_s` apart; one that failed has no content."""
    t0_s = due_s + lag_s
    failed = error is not None
    sample = RequestSample(
        t_sched_s=due_s,
        t0_s=t0_s,
        t1_s=None if failed or not tokens else t0_s + ttft_s,
        tn_s=None if failed or not tokens else t0_s + ttft_s + gap_s * (tokens - 1),
        itl_us=() if failed else (round(gap_s * 1e6),) * (tokens - 1),
        output_tokens=None if failed else tokens,
        error=error,
    )
    return RequestRecord(session=0, turn=0, kind="chat", sample=sample, **fields)


def missed(due_s: float = 0.0) -> RequestRecord:
    return record(due_s, error="missed: too many in flight", missed=True)
