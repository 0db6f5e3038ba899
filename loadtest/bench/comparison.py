"""Two sides of a benchmark compared, as plain numbers; `loadtest/bench/report.py` writes them down.

Ratios and differences are taken within a pair, whose two cells ran one right after the other; then
their median stands for all pairs, with the range beside it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from loadtest.bench.records import SIDES, CellRow, RequestRow, Row, Side
from loadtest.metrics import (
    Percentile,
    RequestSample,
    output_tokens,
    output_tokens_per_s,
    percentile,
    succeeded,
)

Samples = Sequence[RequestSample]


class Spread(NamedTuple):
    """Median, least and greatest."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        return cls(median(values), min(values), max(values)) if values else None


class Versus(NamedTuple):
    """One quantity on both sides, each the median over pairs, and how they differ within pairs."""

    bare: float | None
    fleet: float | None
    change: Spread | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One (pair, streams, side) with its requests, by index."""

    row: CellRow
    samples: Samples

    @property
    def failed(self) -> int:
        return len(self.samples) - len(succeeded(self.samples))

    @property
    def chunks(self) -> int:
        return sum(len(s.itl_us) + (s.t1_s is not None) for s in self.samples)

    def cores(self, role: str) -> float:
        """CPU that `role` took, in cores."""
        return self.row.cpu_s.get(role, 0.0) / self.row.window_s

    def cpu_s_per_1000_tokens(self, roles: Set[str]) -> float | None:
        """CPU seconds of `roles` per 1,000 output tokens; None where none of them ran."""
        present = roles & self.row.cpu_s.keys()
        thousands = output_tokens(self.samples) / 1000
        if not present or not thousands:
            return None
        return sum(self.row.cpu_s[role] for role in present) / thousands


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs at one concurrency: entry i of both sides is of the same pair."""

    streams: int
    bare: Sequence[Cell]
    fleet: Sequence[Cell]

    @property
    def sides(self) -> tuple[Sequence[Cell], Sequence[Cell]]:
        return self.bare, self.fleet

    def throughput(self) -> Versus:
        """Output tokens/s; the change is fleet / bare."""
        bare, fleet = ([output_tokens_per_s(c.samples) for c in side] for side in self.sides)
        ratios = [f / b for b, f in zip(bare, fleet, strict=True) if b]
        return Versus(_median(bare), _median(fleet), Spread.of(ratios))

    def p50(self, values: Callable[[Samples], list[float]]) -> Versus:
        """Of each pair's own median; the change is fleet - bare."""
        medians = [[percentile(values(c.samples), 50) for c in side] for side in self.sides]
        pairs = zip(*medians, strict=True)
        known = [(b.value, f.value) for b, f in pairs if b and f]
        bare, fleet = [b for b, _ in known], [f for _, f in known]
        return Versus(_median(bare), _median(fleet), Spread.of([f - b for b, f in known]))

    def pooled_p99(
        self, values: Callable[[Samples], list[float]]
    ) -> tuple[Percentile | None, Percentile | None]:
        """Of the samples of all pairs together: one pair alone has too few."""
        bare, fleet = (
            percentile((v for c in side for v in values(c.samples)), 99) for side in self.sides
        )
        return bare, fleet

    def cpu(self, roles: Set[str]) -> tuple[float | None, float | None]:
        """CPU seconds of `roles` per 1,000 output tokens, median over pairs."""
        bare, fleet = (
            _median([s for c in side if (s := c.cpu_s_per_1000_tokens(roles)) is not None])
            for side in self.sides
        )
        return bare, fleet

    def same_replies(self) -> tuple[int, int]:
        """Replies with the same text on both sides, of those that succeeded on both."""
        both = [
            (b, f)
            for x, y in zip(self.bare, self.fleet, strict=True)
            for b, f in zip(x.samples, y.samples, strict=False)
            if b.error is None and f.error is None
        ]
        return sum(b.text_crc32 == f.text_crc32 for b, f in both), len(both)


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """By rising concurrency; pairs that lack a side are left out."""
    cells = cells_of(rows)
    return [
        _comparison(streams, [cell for cell in cells if cell.row.streams == streams])
        for streams in sorted({cell.row.streams for cell in cells})
    ]


def cells_of(rows: Iterable[Row]) -> list[Cell]:
    rows = list(rows)
    samples: dict[tuple[int, int, Side], dict[int, RequestSample]] = {}
    for row in rows:
        if isinstance(row, RequestRow):
            samples.setdefault((row.pair, row.streams, row.side), {})[row.index] = row.sample
    return [
        Cell(row, _in_order(samples.get((row.pair, row.streams, row.side), {})))
        for row in rows
        if isinstance(row, CellRow)
    ]


def _in_order(samples: Mapping[int, RequestSample]) -> list[RequestSample]:
    return [sample for _, sample in sorted(samples.items(), key=lambda item: item[0])]


def _comparison(streams: int, cells: Sequence[Cell]) -> Comparison:
    bare, fleet = ({c.row.pair: c for c in cells if c.row.side == side} for side in SIDES)
    pairs = sorted(bare.keys() & fleet.keys())
    return Comparison(streams, [bare[p] for p in pairs], [fleet[p] for p in pairs])


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
