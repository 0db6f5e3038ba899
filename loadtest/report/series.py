"""What the charts draw, as numbers: bins over the run, curves, thinned points. No plotly here.

A chart of a long run draws fewer points than there were requests, so that a browser stays quick and
the file small; how many is in the result, and the chart says it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from loadtest.metrics import RequestSample, percentile

CURVE_POINTS = 400
TAIL_POINTS = 100
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Stretches of time of equal width, only the last one up to half shorter or longer: a rate over
    a sliver at the end would be anything."""

    first_s: float
    last_s: float
    width_s: float
    count: int

    @classmethod
    def over(cls, first_s: float, last_s: float, most: int) -> "Bins":
        """At most `most` bins, of a round width."""
        span_s = max(last_s - first_s, 1e-3)
        width_s = round_up_125(span_s / most)
        return cls(first_s, max(last_s, first_s + span_s), width_s, max(1, round(span_s / width_s)))

    @property
    def edges_s(self) -> Floats:
        """One more than bins."""
        inner = self.first_s + self.width_s * np.arange(self.count, dtype=np.float64)
        return np.append(inner, self.last_s)

    @property
    def middles_s(self) -> list[float]:
        edges_s = self.edges_s
        return [float(middle) for middle in (edges_s[:-1] + edges_s[1:]) / 2]

    @property
    def widths_s(self) -> list[float]:
        return [float(width) for width in np.diff(self.edges_s)]

    def counts(self, at_s: Iterable[float]) -> list[int]:
        """How many instants each bin holds; those outside all bins are left out."""
        found, _ = np.histogram(np.fromiter(at_s, np.float64), self.edges_s)
        return [int(count) for count in found]

    def per_s(self, at_s: Iterable[float]) -> list[float]:
        return [float(rate) for rate in self.counts(at_s) / np.diff(self.edges_s)]

    def split(self, points: Iterable[tuple[float, float]]) -> list[list[float]]:
        """The values of (instant, value) by bin."""
        values: list[list[float]] = [[] for _ in range(self.count)]
        for at_s, value in points:
            if self.first_s <= at_s <= self.last_s:
                place = int((at_s - self.first_s) / self.width_s)
                values[min(place, self.count - 1)].append(value)
        return values


def round_up_125(value: float) -> float:
    """The least of 1, 2, 5 x 10^k that is not below `value`, which must be above 0."""
    scale = 10.0 ** floor(log10(value))
    step = next(step for step in (1, 2, 5, 10) if step * scale >= value * (1 - 1e-9))
    return round(step * scale, 9)


def percentiles(bins: Sequence[Sequence[float]], percent: float) -> list[float | None]:
    """Nearest rank, by bin; None for an empty one, which leaves a gap in a line."""
    found = (percentile(values, percent) for values in bins)
    return [None if value is None else value.value for value in found]


def mean_in_flight(samples: Iterable[RequestSample], bins: Bins) -> list[float]:
    """Requests under way, the mean over each bin.

    A request counts from its send to its last content; one that got none does not, because its
    record does not say when it ended.
    """
    ended = [(sample.t0_s, sample.tn_s) for sample in samples if sample.tn_s is not None]
    begun_s, ended_s = (np.sort(np.array([s[side] for s in ended], np.float64)) for side in (0, 1))
    spent_s = _before(begun_s, bins.edges_s) - _before(ended_s, bins.edges_s)
    return [float(mean) for mean in np.diff(spent_s) / np.diff(bins.edges_s)]


def _before(instants_s: Floats, edges_s: Floats) -> Floats:
    """For each edge, the time from every instant before it to it, summed over the instants."""
    sums_s = np.concatenate(([0.0], np.cumsum(instants_s)))
    passed = np.searchsorted(instants_s, edges_s)
    return edges_s * passed - sums_s[passed]


@dataclass(frozen=True, slots=True)
class Curve:
    """A cumulative distribution: `frac[i]` of the `n` samples are at or below `values[i]`."""

    values: list[float]
    frac: list[float]
    n: int


def cumulative(samples: Iterable[float]) -> Curve:
    """Evenly spaced ranks, and the last `TAIL_POINTS` of them all: the tail is what matters."""
    ordered = np.sort(np.fromiter(samples, np.float64))
    n = len(ordered)
    even = np.linspace(1, n, min(n, CURVE_POINTS)).round().astype(int) if n else np.empty(0, int)
    tail = np.arange(max(1, n - TAIL_POINTS + 1), n + 1)
    ranks = np.unique(np.concatenate((even, tail)))
    return Curve([float(v) for v in ordered[ranks - 1]], [float(r) / n for r in ranks], n)


Point = tuple[float, float]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` (2 or more) of the points, which are in order of time: of each group of
    neighbours the first, which is any, and the highest, so that what stands out stays."""
    if len(points) <= most:
        return list(points)
    size = ceil(len(points) / (most // 2))
    groups = (points[first : first + size] for first in range(0, len(points), size))
    return [point for group in groups for point in _first_and_highest(group)]


def _first_and_highest(group: Sequence[Point]) -> list[Point]:
    return sorted({group[0], max(group, key=itemgetter(1))})
