"""A server of one queue, played through at once: what its requests' records would say."""

from collections.abc import Sequence
from random import Random

from loadtest.run_records import RequestRecord
from tests.loadtest.made_records import record


def served(
    arrivals_s: Sequence[float], rng: Random, *, mean_s: float = 0.1, tokens: int = 5
) -> list[RequestRecord]:
    """First come, first served, one at a time, for an exponential time of `mean_s`; the first token
    comes after a fifth of it."""
    free_s, records = 0.0, []
    for due_s in arrivals_s:
        starts_s, takes_s = max(due_s, free_s), rng.expovariate(1 / mean_s)
        free_s = starts_s + takes_s
        ttft_s = starts_s - due_s + takes_s / 5
        gap_s = takes_s * 4 / 5 / (tokens - 1)
        records.append(record(due_s, ttft_s=ttft_s, gap_s=gap_s, tokens=tokens))
    return records
