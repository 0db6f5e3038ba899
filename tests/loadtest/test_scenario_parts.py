"""Values drawn at random, from numbers and spreads."""

from math import exp
from random import Random
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loadtest.scenario_parts import Seconds, Tokens

bounds = st.tuples(st.integers(1, 10_000), st.integers(0, 10_000)).map(lambda t: (t[0], sum(t)))


@given(bounds, st.floats(0, 1), st.floats(0.01, 3), st.integers())
def test_a_draw_is_within_its_bounds(
    ends: tuple[int, int], place: float, sigma: float, seed: int
) -> None:
    low, high = ends
    middle = min(max(low + place * (high - low), low), high)
    even = Tokens(min=low, max=high)
    skewed = Tokens(min=low, max=high, median=middle, sigma=sigma)
    for spread in (even, skewed):
        assert low <= spread.draw(Random(seed)) <= high


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.integers())
def test_a_time_may_be_nothing(low: float, more: float, seed: int) -> None:
    assert low <= Seconds(min=low, max=low + more).draw(Random(seed)) <= low + more
    skewed = Seconds(min=0, max=low + 1, median=low / 2 + 0.1)
    assert 0 <= skewed.draw(Random(seed)) <= low + 1


def test_a_log_normal_spread_has_its_median_and_width() -> None:
    rng = Random(0)
    spread = Tokens(min=1, max=10**9, median=1000, sigma=1)
    drawn = sorted(spread.draw(rng) for _ in range(4000))
    assert median(drawn) == pytest.approx(1000, rel=0.1)
    assert drawn[int(0.841 * len(drawn))] == pytest.approx(1000 * exp(1), rel=0.15)


def test_a_spread_without_a_median_is_even() -> None:
    rng = Random(0)
    drawn = [Tokens(min=1, max=4).draw(rng) for _ in range(4000)]
    assert all(drawn.count(value) == pytest.approx(1000, rel=0.15) for value in range(1, 5))


def test_a_number_is_always_the_same() -> None:
    assert Tokens.model_validate(7).draw(Random(1)) == 7
    assert Seconds.model_validate(0.5).draw(Random(1)) == 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (0, "greater than or equal to 1"),
        ({"min": 5, "max": 4}, r"4 is below min \(5\)"),
        ({"min": 5, "max": 9, "median": 3}, r"median 3 is not within min \(5\) and max \(9\)"),
        ({"min": 5}, "Field required"),
        (1.5, "valid integer"),
        (True, "True is neither a number nor a spread"),
        ("7", "'7' is neither"),
    ],
)
def test_what_is_no_spread_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Tokens.model_validate(data)
