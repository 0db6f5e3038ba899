"""Intervals: Wilson against exact binomial probabilities, the block bootstrap against known truths.

Coverages are counted over many made-up runs with fixed seeds; their bounds are what such intervals
are known to reach, not exactly 95 %.
"""

from math import comb, log
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.intervals import (
    BLOCKS,
    DRAWS,
    Blocked,
    Floats,
    Interval,
    block_draws,
    central,
    means,
    nearest_rank,
    percentiles,
    totals,
    wilson,
)
from loadtest.metrics import percentile

FINITE = st.floats(-1e9, 1e9)
ROUNDS = 100
NOT_HURRIED = settings(deadline=None)  # an example is much work, on a busy machine too


def spread_evenly(values: Floats) -> Blocked:
    """In order over all blocks."""
    return Blocked(values, np.arange(len(values)) * BLOCKS // len(values))


def one_draw(*blocks: int) -> Floats:
    """The single draw of exactly these blocks."""
    return np.bincount(np.array(blocks), minlength=BLOCKS).astype(np.float64)[None, :]


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        pytest.param(0, 0, (0, 1), id="nothing is known of nothing"),
        pytest.param(0, 10, (0, 0.2775), id="none of 10"),
        pytest.param(10, 10, (0.7225, 1), id="all of 10"),
        pytest.param(8, 10, (0.4902, 0.9433), id="8 of 10"),
        pytest.param(81, 263, (0.2553, 0.3662), id="Newcombe 1998, table I"),
    ],
)
def test_wilson_gives_published_values(
    successes: int, n: int, expected: tuple[float, float]
) -> None:
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


@NOT_HURRIED
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.01, 0.999))
def test_wilson_is_a_part_of_0_to_1_around_the_share(a: int, b: int, confidence: float) -> None:
    successes, n = sorted((a, b))
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= successes / n <= high
        # What failed is the mirror image.
        assert wilson(n - successes, n, confidence) == pytest.approx((1 - high, 1 - low))


@NOT_HURRIED
@given(st.integers(1, 1000), st.data())
def test_wilson_rises_with_the_successes(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n - 1))
    less, more = wilson(successes, n), wilson(successes + 1, n)
    assert less.low < more.low or less.low == 0
    assert less.high < more.high or more.high == 1


@pytest.mark.parametrize("n", [20, 50, 100, 300])
def test_wilson_covers_about_95_percent_by_exact_binomial_probabilities(n: int) -> None:
    """On average over the share; single ones swing with how its successes fall (Agresti and Coull,
    1998), down to about 84 % next to 0 and 1."""
    intervals = [wilson(successes, n) for successes in range(n + 1)]
    coverages = [
        sum(
            comb(n, k) * p**k * (1 - p) ** (n - k)
            for k, (low, high) in enumerate(intervals)
            if low <= p <= high
        )
        for p in np.linspace(0.005, 0.995, 199)
    ]
    assert 0.94 < np.mean(coverages) < 0.965
    assert min(coverages) > 0.83


@pytest.mark.parametrize(
    ("successes", "n", "confidence", "message"),
    [
        (-1, 5, 0.95, r"successes must be in \[0, 5\], not -1"),
        (6, 5, 0.95, r"not 6"),
        (1, 5, 1.0, r"confidence must be in \(0, 1\), not 1"),
        (1, 5, 0.0, r"not 0"),
    ],
)
def test_wilson_refuses_what_is_no_share(
    successes: int, n: int, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wilson(successes, n, confidence)


@NOT_HURRIED
@given(st.lists(FINITE, min_size=1), st.sampled_from([0.1, 1, 50, 90, 99, 99.9, 100]))
def test_array_percentiles_are_those_of_the_metrics(values: list[float], percent: float) -> None:
    expected = percentile(values, percent)
    assert expected is not None
    assert nearest_rank(np.array(values), percent) == expected.value


@NOT_HURRIED
@given(st.integers(0, 2**32))
def test_every_draw_has_as_many_blocks_and_the_seed_decides_which(seed: int) -> None:
    draws = block_draws(seed)
    assert draws.shape == (DRAWS, BLOCKS)
    assert (draws.sum(axis=1) == BLOCKS).all()
    assert (draws == block_draws(seed)).all()


@NOT_HURRIED
@given(
    st.lists(st.tuples(FINITE, st.integers(0, BLOCKS - 1)), min_size=1),
    st.lists(st.integers(0, BLOCKS - 1), min_size=BLOCKS, max_size=BLOCKS),
)
def test_a_draw_adds_up_the_samples_of_its_blocks(
    pairs: list[tuple[float, int]], drawn: list[int]
) -> None:
    samples = Blocked(*map(np.array, zip(*pairs, strict=True)))
    inside = [value for block in drawn for value, of in pairs if of == block]
    assert totals(one_draw(*drawn), samples) == pytest.approx(sum(inside), rel=1e-6, abs=1e-3)
    [mean] = means(one_draw(*drawn), samples)
    [p50], [p99] = (percentiles(one_draw(*drawn), samples, percent) for percent in (50, 99))
    if inside:
        assert [p50, p99] == [nearest_rank(np.array(inside), percent) for percent in (50, 99)]
        assert mean == pytest.approx(sum(inside) / len(inside), rel=1e-6, abs=1e-3)
    else:
        assert np.isnan([mean, p50, p99]).all()


@NOT_HURRIED
@given(st.lists(st.one_of(FINITE, st.just(float("nan"))), max_size=100))
def test_the_central_interval_holds_most_of_what_is_known(values: list[float]) -> None:
    known = [value for value in values if value == value]
    interval = central(np.array(values, dtype=np.float64))
    assert (interval is None) == (not known)
    if interval:
        inside = sum(interval.low <= value <= interval.high for value in known)
        assert inside >= 0.95 * len(known) - 1


def difference_covers(percent: float | None, shift: float, seed: int) -> bool:
    """Whether the interval holds the true difference of two runs of 1,000 exponential samples, the
    second one's longer by `shift`: of a percentile, or of the mean."""
    rng, draws = np.random.default_rng(seed), [block_draws(seed, side) for side in (0, 1)]
    a, b = (spread_evenly(rng.exponential(size=1000) + offset) for offset in (0.0, shift))
    if percent is None:
        found = central(means(draws[1], b) - means(draws[0], a))
    else:
        found = central(percentiles(draws[1], b, percent) - percentiles(draws[0], a, percent))
    assert found is not None
    return found.low <= shift <= found.high


@pytest.mark.parametrize("percent", [None, 50, 90, 99])
@pytest.mark.parametrize("shift", [0, 0.5])
def test_bootstrap_intervals_cover_the_true_difference(percent: float | None, shift: float) -> None:
    covered = sum(difference_covers(percent, shift, seed) for seed in range(ROUNDS))
    assert covered >= 0.88 * ROUNDS


def test_a_percentile_covers_its_true_value() -> None:
    covered = 0
    for seed in range(ROUNDS):
        values = np.random.default_rng(seed).exponential(size=2000)
        found = central(percentiles(block_draws(seed), spread_evenly(values), 90))
        assert found is not None
        covered += found.low <= log(10) <= found.high
    assert covered >= 0.88 * ROUNDS


def test_samples_that_move_together_get_a_wider_interval() -> None:
    """200 gaps of one request, or 200 requests of one queue, are not 200 measurements."""
    rng, draws = np.random.default_rng(3), block_draws(seed=3)
    own = rng.normal(size=4000)
    shared = np.repeat(rng.normal(size=BLOCKS), 200)

    def width(values: Floats) -> float:
        found = central(means(draws, spread_evenly(values)))
        assert isinstance(found, Interval)
        return found.high - found.low

    assert width(shared) == pytest.approx(14 * width(own), rel=0.5)  # √200 times


def test_ten_thousand_samples_take_less_than_a_second() -> None:
    samples = spread_evenly(np.random.default_rng(1).exponential(size=10_000))
    began_s = perf_counter()
    draws = block_draws(seed=1)
    for percent in (50, 99):
        central(percentiles(draws, samples, percent))
    central(means(draws, samples))
    assert perf_counter() - began_s < 1
