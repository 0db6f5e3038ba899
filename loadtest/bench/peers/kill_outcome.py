"""What an engine's death cost, from the rows of one side's run. Pure.

A request failed if it has an `error`; it was cut if it had content already when it failed, so that
a user saw the start of an answer. Requests that were refused or never began are failed and not cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from loadtest.bench.records import DuringRow, KillRow, Row
from loadtest.metrics import RequestSample


@dataclass(frozen=True, slots=True)
class Killed:
    """One side's run with a kill. `requests` in no order."""

    row: KillRow
    requests: list[DuringRow]

    @property
    def failed(self) -> list[DuringRow]:
        return [r for r in self.requests if r.sample.error is not None]

    @property
    def cut(self) -> int:
        return sum(r.sample.t1_s is not None for r in self.failed)

    @property
    def failing_for_s(self) -> float | None:
        """From the kill to the end of the last failure; None where nothing failed."""
        if not self.failed:
            return None
        return max(r.ended_s for r in self.failed) - self.row.killed_at_s

    @property
    def came_back(self) -> bool:
        """Whether a request that was sent after the last failure got its answer."""
        last_s = max((r.ended_s for r in self.failed), default=0.0)
        good = (r.sample for r in self.requests if r.sample.error is None)
        return any(sample.t0_s >= last_s for sample in good)

    @property
    def longest_pause_s(self) -> float | None:
        """Between two chunks of a request that was answered in full; None without such gaps."""
        gaps_us = (
            gap_us for r in self.requests if not r.sample.error for gap_us in r.sample.itl_us
        )
        longest_us = max(gaps_us, default=None)
        return None if longest_us is None else longest_us / 1e6

    def tokens_per_s_before(self) -> float:
        """Output tokens of answered requests, from the start to the kill."""
        return self._tokens_per_s(0.0, self.row.killed_at_s)

    def tokens_per_s_at_the_end(self) -> float:
        """The same over the last stretch of that length in which requests were sent."""
        end_s = self.row.last_sent_s
        return self._tokens_per_s(end_s - self.row.killed_at_s, end_s)

    def _tokens_per_s(self, from_s: float, to_s: float) -> float:
        tokens = sum(tokens_between(r.sample, from_s, to_s) for r in self.requests)
        return tokens / (to_s - from_s)


def tokens_between(sample: RequestSample, from_s: float, to_s: float) -> float:
    """Output tokens that came in [from_s, to_s); those of a request are shared alike among its
    chunks, and a failed request has none."""
    if sample.error is not None or sample.t1_s is None:
        return 0.0
    at_us = accumulate(sample.itl_us, initial=0)
    inside = sum(from_s <= sample.t1_s + us / 1e6 < to_s for us in at_us)
    return (sample.output_tokens or 0) * inside / (1 + len(sample.itl_us))


def killed_runs(rows: Iterable[Row]) -> list[Killed]:
    """One per side that has a kill row, in their order."""
    rows = list(rows)
    during = [row for row in rows if isinstance(row, DuringRow)]
    return [
        Killed(row, [d for d in during if d.side == row.side])
        for row in rows
        if isinstance(row, KillRow)
    ]
