"""When engines that keep dying make the next one wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.crash_loop import (
    DEAD_AFTER_S,
    FORGET_S,
    FREE_DEATHS,
    REMEMBERED,
    YOUNG_S,
    Life,
    backoff_s,
    remembered,
    young_deaths,
)
from cluster.spec import FailoverSpec

NOW_S = 1_000_000.0


def life(ended_ago_s: float, lived_s: float = 5.0, *, left: bool = False) -> Life:
    end_s = NOW_S - ended_ago_s
    return Life(ready_at_s=end_s - lived_s, last_alive_at_s=end_s, left=left)


def loop(deaths: int, every_s: float = 60.0, ago_s: float = 10.0) -> list[Life]:
    return [life(ago_s + every_s * index) for index in range(deaths)]


OLD = 10 * YOUNG_S


@pytest.mark.parametrize(
    ("lives", "deaths"),
    [
        pytest.param([], 0, id="a first engine"),
        pytest.param(loop(5), 5, id="one after the other"),
        pytest.param([*loop(2), life(1.0)], 2, id="one that was just heard may live"),
        pytest.param([life(20 * i, left=True) for i in range(1, 9)], 0, id="told to leave"),
        pytest.param([life(10.0 * i, OLD) for i in range(1, 9)], 0, id="died old"),
        pytest.param([*loop(2), life(150.0, 130.0), life(300.0)], 2, id="since one that died old"),
        pytest.param([*loop(4), life(0.0, OLD)], 4, id="beside one that is old and lives"),
        pytest.param([*loop(4), life(0.0, YOUNG_S + 70.0)], 2, id="before one got old, and after"),
        pytest.param(loop(5, ago_s=FORGET_S + 1), 0, id="long over"),
        pytest.param([*loop(2), *loop(3, ago_s=80.0 + FORGET_S)], 2, id="an earlier loop"),
        pytest.param(loop(9, every_s=400.0), 9, id="slow turns, for an hour"),
    ],
)
def test_young_deaths_in_a_row(lives: list[Life], deaths: int) -> None:
    assert young_deaths(lives, NOW_S) == deaths


def test_the_wait_doubles_from_the_third_death_on() -> None:
    waits_s = [backoff_s(deaths, 60.0) for deaths in range(11)]
    assert waits_s == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_loop_reaches_the_longest_wait_that_the_spec_allows() -> None:
    (most,) = [m.le for m in FailoverSpec.model_fields["restart_backoff_max_s"].metadata[1:]]
    assert backoff_s(REMEMBERED, most) == most
    assert most + YOUNG_S < FORGET_S  # with minutes for the start


deaths_st = st.integers(0, 10_000)
max_st = st.floats(0, 300)


@given(deaths_st, deaths_st, max_st)
def test_more_deaths_never_make_a_shorter_wait(some: int, more: int, max_s: float) -> None:
    assert backoff_s(some, max_s) <= backoff_s(some + more, max_s)


@given(deaths_st, max_st)
def test_the_wait_is_bounded_and_the_first_deaths_are_free(deaths: int, max_s: float) -> None:
    assert 0 <= backoff_s(deaths, max_s) <= max_s
    assert backoff_s(min(deaths, FREE_DEATHS), max_s) == 0
    assert backoff_s(deaths, 0.0) == 0


lives_st = st.lists(
    st.builds(
        life,
        st.floats(0, 4 * FORGET_S),
        st.one_of(st.floats(0, YOUNG_S), st.floats(0, OLD)),
        left=st.booleans(),
    ),
    max_size=40,
)


@given(lives_st)
def test_one_more_young_death_now_counts_one_more(lives: list[Life]) -> None:
    """Or starts the count, where the last was long ago."""
    ago_s = DEAD_AFTER_S + 1
    lives = [each for each in lives if each.last_alive_at_s < NOW_S - ago_s]
    before, after = young_deaths(lives, NOW_S), young_deaths([*lives, life(ago_s)], NOW_S)
    got_old_s = max((x.ready_at_s + YOUNG_S for x in lives if not x.is_young), default=0.0)
    assert got_old_s < NOW_S - ago_s
    assert after >= before + 1


@given(lives_st)
def test_engines_that_left_never_add_to_it(lives: list[Life]) -> None:
    stayed = [each for each in lives if not each.left]
    assert young_deaths(lives, NOW_S) <= young_deaths(stayed, NOW_S)
    assert young_deaths([each for each in lives if each.left], NOW_S) == 0


@given(lives_st)
def test_it_forgets(lives: list[Life]) -> None:
    assert young_deaths(lives, NOW_S + FORGET_S + 0.1) == 0
    assert remembered(lives, NOW_S + FORGET_S + DEAD_AFTER_S) == frozenset()


@given(lives_st)
def test_what_is_not_remembered_changes_no_wait(lives: list[Life]) -> None:
    kept = remembered(lives, NOW_S)
    assert kept <= set(lives)
    ended = [each for each in lives if each.has_ended(NOW_S)]
    assert set(lives) - set(ended) <= kept
    assert sum(each.has_ended(NOW_S) for each in kept) <= REMEMBERED
    assert young_deaths(kept, NOW_S) <= young_deaths(set(lives), NOW_S)
    if len(set(ended)) <= REMEMBERED:
        assert young_deaths(kept, NOW_S) == young_deaths(set(lives), NOW_S)
