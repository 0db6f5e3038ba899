"""What the charts draw: bins lose no request, curves are the percentiles, thinning keeps peaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.metrics import RequestSample, percentile
from loadtest.report.series import (
    Bins,
    cumulative,
    mean_in_flight,
    percentiles,
    round_up_125,
    thinned,
)

INSTANTS = st.lists(st.floats(-10, 1000), min_size=1)


def sample(t0_s: float, tn_s: float | None) -> RequestSample:
    return RequestSample(t_sched_s=t0_s, t0_s=t0_s, tn_s=tn_s)


@given(INSTANTS, st.integers(1, 100))
def test_every_instant_is_in_one_bin(at_s: list[float], most: int) -> None:
    bins = Bins.over(min(at_s), max(at_s), most)
    assert bins.count <= most
    assert sum(bins.counts(at_s)) == len(at_s)
    assert sum(map(len, bins.split((at, at) for at in at_s))) == len(at_s)


@given(INSTANTS, st.integers(1, 100))
def test_no_bin_is_a_sliver(at_s: list[float], most: int) -> None:
    bins = Bins.over(min(at_s), max(at_s), most)
    widths_s = bins.widths_s
    assert widths_s[:-1] == pytest.approx([bins.width_s] * (bins.count - 1), abs=1e-9)
    assert bins.count == 1 or 0.49 < widths_s[-1] / bins.width_s < 1.51


def test_rates_are_over_the_width_of_each_bin() -> None:
    bins = Bins.over(0.0, 12.4, 4)
    assert (bins.width_s, bins.count) == (5.0, 2)
    assert bins.per_s([1.0, 2.0, 6.0, 12.4]) == [2 / 5, 2 / 7.4]
    assert bins.split([(1.0, 7.0), (12.4, 8.0), (13.0, 9.0)]) == [[7.0], [8.0]]


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, 1.0), (1.01, 2.0), (3.0, 5.0), (0.051, 0.1), (700.0, 1000.0)]
)
def test_round_numbers(value: float, expected: float) -> None:
    assert round_up_125(value) == expected


def test_the_mean_in_flight_of_a_bin_is_the_time_spent_in_it() -> None:
    samples = [sample(0.0, 1.5), sample(0.5, 1.0), sample(1.0, 3.0), sample(1.0, None)]
    bins = Bins(first_s=0.0, last_s=3.0, width_s=1.0, count=3)
    assert mean_in_flight(samples, bins) == pytest.approx([1.5, 1.5, 1.0])
    assert mean_in_flight([], bins) == [0.0, 0.0, 0.0]


def test_an_empty_bin_has_no_percentile() -> None:
    assert percentiles([[3.0, 1.0, 2.0], []], 50) == [2.0, None]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=2000))
def test_a_curve_goes_through_nearest_rank_percentiles(values: list[float]) -> None:
    curve = cumulative(values)
    assert curve.n == len(values)
    assert curve.frac[-1] == 1.0
    assert len(curve.values) <= 500
    for value, frac in zip(curve.values, curve.frac, strict=True):
        found = percentile(values, 100 * frac)
        assert found is not None
        assert found.value in (value, min((v for v in values if v > value), default=value))


def test_a_curve_of_nothing() -> None:
    assert cumulative([]).n == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1), st.integers(2, 50))
def test_thinning_keeps_the_highest_point_and_the_order(
    points: list[tuple[float, float]], most: int
) -> None:
    points = sorted(points)
    found = thinned(points, most)
    assert len(found) <= most
    assert max(height for _, height in found) == max(height for _, height in points)
    assert set(found) <= set(points)
    assert [at for at, _ in found] == sorted(at for at, _ in found)
