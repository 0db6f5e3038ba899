"""How far a number of a load test can be trusted: confidence intervals.

`wilson` is for a share of requests. For everything else the run is cut into `BLOCKS` stretches of
equal time, and the stretches are drawn again with replacement, each with all that is in it (block
bootstrap). Requests of one stretch share its queue, its hiccups and its place in the load's shape,
and the gaps between chunks share their request, so drawing single samples would promise too much.
For two runs of the same load the same stretches are drawn on both sides: what the load's shape does
to both then cancels out of their difference (paired bootstrap).

Sources: E. B. Wilson, JASA 22 (1927); B. Efron and R. Tibshirani, An Introduction to the Bootstrap
(1993), chapters 8 and 13; R. S. Woodruff, JASA 47 (1952), for percentiles. Cost: a few milliseconds
per quantity and 10,000 samples, whatever their number of draws.
"""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCKS = 40
"""More would be shorter than the queues they have to hold, fewer give too narrow intervals."""

DRAWS = 2000
"""The ends of a 95 % interval are then good to about 2 % of its width."""


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


def block_draws(seed: int) -> Floats:
    """How often each block (column) comes in each draw (row); every row adds up to BLOCKS."""
    counts = np.random.default_rng(seed).multinomial(BLOCKS, [1 / BLOCKS] * BLOCKS, size=DRAWS)
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
    return float(_at_share(np.sort(values), np.array(percent / 100)))


def percentiles(draws: Floats, samples: Blocked, percent: float) -> Floats:
    """The percentile in each draw, nearest-rank; NaN for a draw without samples.

    By Woodruff's inversion: where the share of a draw's samples that are at or below the overall
    percentile is too large by some amount, the draw's percentile is the overall one for a share
    that much smaller. That costs one pass over the samples instead of one a draw.
    """
    ordered = np.sort(samples.values)
    wanted = percent / 100
    overall = _at_share(ordered, np.array(wanted))
    below = (samples.values <= overall).astype(np.float64)
    shares = means(draws, Blocked(below, samples.blocks))
    found = _at_share(ordered, wanted + below.mean() - np.nan_to_num(shares))
    return np.where(np.isnan(shares), np.nan, found)


def _at_share(ordered: Floats, shares: Floats) -> Floats:
    """The smallest sample with at least that share of all at or below it."""
    # Less a little: 0.99 * 100 must be rank 99, however it rounds.
    ranks = np.ceil(shares * len(ordered) - 1e-9).astype(np.intp)
    return ordered[np.clip(ranks, 1, len(ordered)) - 1]


def central(values: Floats, confidence: float = 0.95) -> Interval | None:
    """What holds the middle `confidence` of drawn values (percentile bootstrap). NaNs are left out;
    None where nothing else is there."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    tail = (1 - confidence) / 2
    low, high = _at_share(known, np.array([tail, 1 - tail]))
    return Interval(float(low), float(high))
