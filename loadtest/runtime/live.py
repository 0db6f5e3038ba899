"""What is known of a run while it goes on: counters, and histograms as coarse as an eye.

Each worker keeps a tally of what happened since it last reported; the master adds them up. Values
are rounded to three digits, so a tally stays small however long the run. The run's summary is made
from the raw samples instead (`requests.jsonl`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self

from loadtest.metrics import RequestSample, tpot_s, ttft_s


@dataclass(slots=True)
class Histogram:
    """Milliseconds, and how often each came."""

    counts: Counter[float] = field(default_factory=Counter)

    def add_s(self, values_s: Iterable[float]) -> None:
        self.counts.update(float(f"{value_s * 1e3:.3g}") for value_s in values_s)

    def percentile_ms(self, percent: float) -> float | None:
        """Nearest-rank; None where there is nothing."""
        rank = ceil(percent / 100 * self.counts.total())
        for value_ms in sorted(self.counts):
            rank -= self.counts[value_ms]
            if rank <= 0:
                return value_ms
        return None


@dataclass(slots=True)
class Tally:
    """`offered` are the requests that were due: sent, or missed. `done` have ended well. `judged`
    are those that were missed or have ended and are none of the warm-up, `good` those of them that
    met the load's objective; both stay 0 where it has none."""

    offered: int = 0
    missed: int = 0
    done: int = 0
    failed: int = 0
    output_tokens: int = 0
    judged: int = 0
    good: int = 0
    ttft: Histogram = field(default_factory=Histogram)
    tpot: Histogram = field(default_factory=Histogram)
    itl: Histogram = field(default_factory=Histogram)

    def ended(self, sample: RequestSample) -> None:
        """Counts a request that was sent and has ended."""
        if sample.error is not None:
            self.failed += 1
            return
        self.done += 1
        self.output_tokens += sample.output_tokens or 0
        self.ttft.add_s(value for value in (ttft_s(sample),) if value is not None)
        self.tpot.add_s(value for value in (tpot_s(sample),) if value is not None)
        self.itl.add_s(gap_us / 1e6 for gap_us in sample.itl_us)

    def judge(self, good: bool | None) -> None:
        """Counts whether a request met the objective; None where that does not matter."""
        if good is not None:
            self.judged += 1
            self.good += good

    def add(self, other: "Tally") -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in HISTOGRAMS:
            getattr(self, name).counts.update(getattr(other, name).counts)

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet ended; of a tally of the whole run."""
        return self.offered - self.missed - self.done - self.failed

    def to_message(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in COUNTS}
        return counts | {name: list(getattr(self, name).counts.items()) for name in HISTOGRAMS}

    @classmethod
    def of_message(cls, message: dict[str, Any]) -> Self:
        fields: dict[str, Any] = {name: message[name] for name in COUNTS}
        for name in HISTOGRAMS:
            fields[name] = Histogram(Counter(dict(message[name])))
        return cls(**fields)


COUNTS = ("offered", "missed", "done", "failed", "output_tokens", "judged", "good")
HISTOGRAMS = ("ttft", "tpot", "itl")
