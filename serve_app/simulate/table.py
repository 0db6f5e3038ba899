"""Results as lines of a table, for the terminal and the page."""

from __future__ import annotations

from cluster.simulation.results import Latency, Result
from loadtest.number_text import NONE, ms, number, percent

HEADER = (
    *("policy", "requests", "failed", "hit rate", "TTFT p50", "p90", "p99", "TPOT p50", "p99"),
    *("E2E p50", "requests/s", "output tokens/s", "max/mean tokens", "prefill", "busy"),
    "preempted",
)


def line(result: Result) -> list[str]:
    """One policy's, under `HEADER`. How many samples a percentile has is the number of requests,
    less those that failed (for TPOT also those of one token)."""
    ttft, tpot, shares = result.ttft_s, result.tpot_s, result.imbalance
    return [
        result.policy,
        f"{result.requests:,}",
        f"{result.failed:,}",
        NONE if result.hit_frac is None else percent(result.hit_frac),
        *_tail(ttft),
        ms(tpot.p50),
        ms(tpot.p99),
        ms(result.e2e_s.p50),
        number(result.completed_rps, 3),
        number(result.output_tokens_per_s),
        *(number(share, 2) for share in (shares.tokens, shares.prefill_tokens, shares.busy_s)),
        f"{result.preemptions:,}",
    ]


def _tail(latency: Latency) -> list[str]:
    return [ms(latency.p50), ms(latency.p90), ms(latency.p99)]
