"""The token bucket against one that counts in exact fractions."""

from fractions import Fraction
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission.token_bucket import TokenBucket

AMOUNTS = st.integers(0, 200)
STEPS = st.lists(
    st.tuples(st.integers(0, 4000), AMOUNTS, st.sampled_from(["take", "ask", "back", "resize"])),
    max_size=40,
)


class Exact:
    """The same by definition, in fractions."""

    def __init__(self, per_s: Fraction, burst: Fraction) -> None:
        self.per_s, self.burst, self.level = per_s, burst, burst

    def pass_time(self, seconds: Fraction) -> None:
        self.level = min(self.burst, self.level + seconds * self.per_s)

    def wait_s(self, amount: int) -> Fraction:
        return max(Fraction(0), (min(Fraction(amount), self.burst) - self.level) / self.per_s)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 500), st.integers(1, 6000))
def test_it_agrees_with_exact_arithmetic(
    steps: list[tuple[int, int, str]], burst: int, per_min: int
) -> None:
    exact = Exact(Fraction(per_min, 60), Fraction(burst))
    bucket = TokenBucket(per_s=per_min / 60, burst=burst, now_s=0.0)
    now_ms = 0
    for wait_ms, amount, kind in steps:
        now_ms += wait_ms
        now_s = now_ms / 1000
        exact.pass_time(Fraction(wait_ms, 1000))
        assert bucket.level(now_s) == pytest.approx(float(exact.level), abs=1e-6)
        wait_s = bucket.wait_s(amount, now_s)
        assert wait_s == pytest.approx(float(exact.wait_s(amount)), abs=1e-6)
        if kind == "take":
            exact.level -= amount
            bucket.take(amount, now_s)
        elif kind == "back":
            exact.level = min(exact.burst, exact.level + amount)
            bucket.give_back(amount, now_s)
        elif kind == "resize":
            exact.burst, exact.per_s = Fraction(amount + 1), Fraction(amount + 1, 60)
            exact.level = min(exact.level, exact.burst)
            bucket.resize(per_s=(amount + 1) / 60, burst=amount + 1, now_s=now_s)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60), st.integers(1, 20))
def test_no_span_of_time_lets_through_more_than_burst_and_rate(
    asks: list[tuple[float, int]], burst: int
) -> None:
    bucket, now_s = TokenBucket(per_s=2.0, burst=burst, now_s=0.0), 0.0
    passed: list[tuple[float, int]] = []
    for wait_s, amount in asks:
        now_s += wait_s
        if bucket.wait_s(amount, now_s) == 0.0:
            bucket.take(amount, now_s)
            passed.append((now_s, amount))
    for first, (start_s, _) in enumerate(passed):
        total = 0
        for at_s, amount in passed[first:]:
            total += amount
            above = max(0, max(each for _, each in passed) - burst)
            assert total <= burst + 2.0 * (at_s - start_s) + above + 1e-6


@given(st.floats(0.01, 1e4), st.floats(1, 1e6), st.floats(0, 2e6), st.floats(0, 1e9))
def test_what_it_says_to_wait_for_is_there_then(
    per_s: float, burst: float, amount: float, now_s: float
) -> None:
    bucket = TokenBucket(per_s=per_s, burst=burst, now_s=now_s)
    bucket.take(burst, now_s)
    then_s = now_s + bucket.wait_s(amount, now_s)
    rounding_s = 1e-6 * max(1.0, then_s) / 1e3
    assert bucket.wait_s(amount, then_s + rounding_s) == 0.0


def test_more_than_it_can_hold_passes_when_it_is_full_and_is_paid_back() -> None:
    bucket = TokenBucket(per_s=1.0, burst=10.0, now_s=0.0)
    assert bucket.wait_s(25, 0.0) == 0.0
    bucket.take(25, 0.0)
    assert bucket.level(0.0) == -15.0
    assert bucket.wait_s(1, 0.0) == 16.0


def test_a_larger_share_gives_nothing_away() -> None:
    bucket = TokenBucket(per_s=1.0, burst=10.0, now_s=0.0)
    bucket.take(10, 0.0)
    bucket.resize(per_s=2.0, burst=20.0, now_s=0.0)
    assert bucket.level(0.0) == 0.0
    assert bucket.level(5.0) == 10.0


def test_without_a_rate_there_is_no_end_of_waiting() -> None:
    bucket = TokenBucket(per_s=0.0, burst=1.0, now_s=0.0)
    bucket.take(1, 0.0)
    assert bucket.wait_s(1, 1e9) == inf


def test_a_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(per_s=1.0, burst=10.0, now_s=5.0)
    bucket.take(10, 5.0)
    assert bucket.level(4.0) == 0.0
    bucket.take(0, 4.0)
    assert bucket.level(6.0) == 1.0


@pytest.mark.parametrize(("per_s", "burst"), [(-1.0, 1.0), (1.0, -1.0), (inf, 1.0), (1.0, inf)])
def test_a_bucket_that_cannot_be_is_refused(per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        TokenBucket(per_s=per_s, burst=burst, now_s=0.0)
