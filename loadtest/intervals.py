"""How far a number of a load test can be trusted: confidence intervals.

`wilson` is for a share of requests. For everything else the run is cut into `BLOCKS` stretches of
equal time, and the stretches are drawn again with replacement, each with all that is in it (block
bootstrap). Requests of one stretch share its queue and its hiccups, and the gaps between chunks
share their request. Drawing single requests instead would find a difference in most pairs of runs
of one and the same busy server.

The blocks of two runs are drawn independently, though an open loop sends both the same: drawing the
same stretches on both sides would be sharper, and overlooks that one bad stretch decides a p99.
What outlasts a block is still underestimated, such as the queue of a nearly saturated server; a
longer run has longer blocks. Pairs of runs of one simulated queue (M/M/1, 10 a second; 100 pairs)
wrongly differed in their p99 TTFT in 5 % at 80 % load over 600 s, in 19 % over 100 s (82 % of 60
pairs with single requests drawn), and in 53 % at 95 % load over 100 s.

Sources: E. B. Wilson, JASA 22 (1927); B. Efron and R. Tibshirani, An Introduction to the Bootstrap
(1993), chapters 8 and 13; T. Hesterberg, The American Statistician 69 (2015), for `TAIL`.
"""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCKS = 20
"""More would be shorter than the queues they have to hold, fewer give too uncertain intervals."""

DRAWS = 2000
"""The ends of an interval are then good to about 2 % of its width."""

TAIL = 0.0159
"""What a 95 % interval leaves out on each side: not 0.025, for draws of few blocks vary too little.
Hesterberg's expanded percentiles, Phi(-t √(b / (b - 1))), with t = 2.093 for b - 1 = 19."""


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share; all of [0, 1] for n = 0.

    Raises ValueError unless 0 <= successes <= n and 0 < confidence < 1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], not {successes}")
    z = _two_sided_z(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # All or none succeeded: the end is exactly the share, but for rounding.
    low = 0.0 if successes == 0 else middle - half
    return Interval(low, 1.0 if successes == n else middle + half)


def _two_sided_z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


class Blocked(NamedTuple):
    """Samples, each with the index of the block it belongs to, in [0, BLOCKS)."""

    values: Floats
    blocks: NDArray[np.intp]


def block_draws(seed: int, side: int = 0) -> Floats:
    """How often each block (column) comes in each draw (row); every row adds up to BLOCKS. Draws of
    another `side` are independent of these."""
    counts = np.random.default_rng((seed, side)).multinomial(
        BLOCKS, [1 / BLOCKS] * BLOCKS, size=DRAWS
    )
    return counts.astype(np.float64)


def totals(draws: Floats, samples: Blocked) -> Floats:
    """The sum of the samples in each draw."""
    return draws @ np.bincount(samples.blocks, weights=samples.values, minlength=BLOCKS)


def means(draws: Floats, samples: Blocked) -> Floats:
    """The mean of the samples in each draw; NaN for a draw without any."""
    ones = Blocked(np.ones_like(samples.values), samples.blocks)
    with np.errstate(invalid="ignore"):
        return totals(draws, samples) / totals(draws, ones)


def nearest_rank(values: Floats, percent: float) -> float:
    """The same as `loadtest.metrics.percentile`, for an array with at least one value."""
    return float(np.sort(values)[int(_ranks(percent, np.array(len(values)))) - 1])


def percentiles(draws: Floats, samples: Blocked, percent: float) -> Floats:
    """The percentile in each draw, nearest-rank; NaN for a draw without samples.

    No draw is spelled out: each is searched for the smallest sample with enough of the draw at or
    below it, by bisection over all samples, so the cost hardly depends on how many there are.
    """
    ordered = np.sort(samples.values)
    by_block = [np.sort(samples.values[samples.blocks == block]) for block in range(BLOCKS)]
    sizes = draws @ np.array([len(values) for values in by_block])
    ranks = _ranks(percent, sizes)
    low, high = np.zeros(len(draws), dtype=np.intp), np.full(len(draws), len(ordered) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        below = [np.searchsorted(values, ordered[middle], side="right") for values in by_block]
        enough = (draws * np.column_stack(below)).sum(axis=1) >= ranks
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return np.where(sizes == 0, np.nan, ordered[low])


def _ranks(percent: float, sizes: Floats) -> Floats:
    """The nearest rank among so many samples, from 1."""
    # Less a little: 99.9 / 100 * 1000 must be rank 999, however it rounds.
    return np.maximum(1, np.ceil(percent / 100 * sizes - 1e-9))


def central(values: Floats) -> Interval | None:
    """The 95 % interval of what was drawn, without the NaNs; None where nothing else is there."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return Interval(nearest_rank(known, 100 * TAIL), nearest_rank(known, 100 * (1 - TAIL)))
