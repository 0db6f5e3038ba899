"""Dividing a limit: the shares sum to 1, keep the floor, follow demand and are max-min fair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission.max_min import FLOOR_FRAC, shares, whole_shares

DEMANDS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 50), min_size=1)


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        ({"a": 0.0, "b": 0.0}, {"a": 0.5, "b": 0.5}),
        ({"a": 9.0, "b": 0.0}, {"a": 0.9, "b": 0.1}),
        ({"a": 9.0, "b": 0.3}, {"a": 0.7, "b": 0.3}),
        ({"a": 9.0, "b": 8.0}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.2, "b": 0.4}, {"a": 0.4, "b": 0.6}),
        ({"a": 5.0, "b": 0.2, "c": 0.5}, {"a": 0.4, "b": 0.2, "c": 0.4}),
        ({}, {}),
    ],
)
def test_shares_follow_demand(demand: dict[str, float], expected: dict[str, float]) -> None:
    assert shares(demand) == pytest.approx(expected)


@given(DEMANDS)
def test_shares_are_max_min_fair(demands: dict[str, float]) -> None:
    given_out = shares(demands)
    assert sum(given_out.values()) == pytest.approx(1.0)
    floor = FLOOR_FRAC / len(demands)
    assert min(given_out.values()) >= floor - 1e-9
    for name, frac in given_out.items():
        if frac < demands[name] - 1e-9:  # it lacks something, so nobody has more but by the floor
            assert max(given_out.values()) <= frac + 1e-9


@given(DEMANDS, st.floats(0, 50))
def test_asking_for_more_never_gives_less(demands: dict[str, float], more: float) -> None:
    name = min(demands)
    raised = {**demands, name: demands[name] + more}
    if demands[name] >= FLOOR_FRAC / len(demands) or sum(demands.values()) > 1:
        assert shares(raised)[name] >= min(shares(demands)[name], raised[name]) - 1e-9


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 50), min_size=1), st.integers(1, 40)
)
def test_whole_shares_sum_to_all_units_and_no_one_in_need_has_none(
    demands: dict[str, float], units: int
) -> None:
    given_out = whole_shares(demands, units)
    assert sum(given_out.values()) == units
    assert min(given_out.values()) >= 0
    if units >= len(demands):
        assert all(given_out[name] >= 1 for name, demand in demands.items() if demand >= 1)


@pytest.mark.parametrize(
    ("demand", "units", "expected"),
    [
        ({"a": 1.0, "b": 0.0}, 1, {"a": 1, "b": 0}),
        ({"a": 0.0, "b": 1.0}, 1, {"a": 0, "b": 1}),
        ({"a": 3.0, "b": 3.0}, 3, {"a": 2, "b": 1}),
        ({"a": 30.0, "b": 0.0}, 10, {"a": 9, "b": 1}),
    ],
)
def test_whole_shares_go_where_they_are_asked_for(
    demand: dict[str, float], units: int, expected: dict[str, int]
) -> None:
    assert whole_shares(demand, units) == expected
