"""Builders of result rows with round numbers."""

from typing import Any

from loadtest.bench.records import CellRow, IdleRow, RequestRow, Row, RunRow, Side
from loadtest.metrics import RequestSample

RUN = RunRow(
    started_at="2026-01-02T03:04:05+00:00",
    command="python -m loadtest.bench.overhead",
    labels={"bare": "bare vLLM", "fleet": "Tokenfleet"},
    settings={"output tokens": 3},
    machine={"cores": "2"},
)
IDLE = IdleRow(
    side="bare", window_s=5.0, cpu_s={"engine core": 0.1, "other": 0.0}, placement=["VLLM: 3 CPUs"]
)


def sample(ttft_ms: float = 10, itl_ms: float = 5, **fields: Any) -> RequestSample:
    """Sent at 0; three tokens, one a chunk."""
    t1_s, gap_s = ttft_ms / 1e3, itl_ms / 1e3
    defaults: dict[str, Any] = {
        "t_sched_s": 0.0,
        "t0_s": 0.0,
        "t1_s": t1_s,
        "tn_s": t1_s + 2 * gap_s,
        "itl_us": (round(gap_s * 1e6),) * 2,
        "output_tokens": 3,
        "prompt_tokens": 200,
    }
    return RequestSample(**{**defaults, **fields})


def cell(
    side: Side, *samples: RequestSample, pair: int = 0, streams: int = 1, **cpu_s: float
) -> list[Row]:
    """A cell with its requests; `cpu_s` by role, with `_` for a space."""
    by_role = {role.replace("_", " "): seconds for role, seconds in cpu_s.items()}
    row = CellRow(pair=pair, streams=streams, side=side, window_s=1.0, cpu_s=by_role)
    requests: list[Row] = [
        RequestRow(pair=pair, streams=streams, side=side, index=index, sample=s)
        for index, s in enumerate(samples)
    ]
    return [row, *requests]
