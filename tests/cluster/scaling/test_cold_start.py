"""How long an engine takes to come, from the names of those that are ready."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.cold_start import DEFAULT_S, ColdStart
from cluster.types import ReplicaId


def names(*numbers: int) -> list[ReplicaId]:
    return [ReplicaId(f"e{number}") for number in numbers]


def test_until_one_has_started_it_is_the_default() -> None:
    found = ColdStart()
    found.observe(names(0, 1), 0.0)
    assert (found.expected_s, found.measured) == (DEFAULT_S, False)


def test_the_first_start_counts_whole_and_later_ones_a_quarter() -> None:
    found = ColdStart()
    found.observe(names(0), 0.0)
    found.decided(1, 10.0)
    found.observe(names(0, 1), 30.0)
    assert found.expected_s == 20.0
    found.decided(1, 30.0)
    found.observe(names(0, 1, 2), 90.0)  # 60 s: 40 more than expected
    assert found.expected_s == (20 + 0.25 * 40) + 0.25 * 40


def test_those_that_are_no_longer_wanted_are_not_waited_for() -> None:
    found = ColdStart()
    found.observe([], 0.0)
    found.decided(2, 0.0)
    found.decided(-1, 5.0)
    found.observe(names(0), 40.0)
    found.observe(names(0, 1), 99.0)  # of which nobody knows why
    assert found.expected_s == 40.0


def test_an_engine_that_comes_back_by_itself_is_no_start() -> None:
    found = ColdStart()
    found.observe(names(0, 1), 0.0)
    found.observe(names(0), 5.0)
    found.observe(names(0, 2), 9.0)
    assert not found.measured


@settings(max_examples=50, deadline=None)
@given(starts_s=st.lists(st.floats(1, 500), min_size=1, max_size=20))
def test_it_lies_between_the_starts_and_their_spread(starts_s: list[float]) -> None:
    found, now_s = ColdStart(), 0.0
    found.observe([], now_s)
    for number, start_s in enumerate(starts_s):
        found.decided(1, now_s)
        now_s += start_s
        found.observe(names(*range(number + 1)), now_s)
    spread_s = max(starts_s) - min(starts_s)
    assert min(starts_s) - 1e-6 <= found.expected_s <= max(starts_s) + spread_s + 1e-6
