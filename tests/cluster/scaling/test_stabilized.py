"""Up at once, down late."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.stabilized import (
    HYSTERESIS_FRAC,
    MOST_WINDOW_STARTS,
    REGRET_WINDOWS,
    WINDOW_STARTS,
    Stabilized,
)

COLD_START_S = 10.0
WINDOW_S = int(WINDOW_STARTS * COLD_START_S)


def targets(needed: list[float], first: int = 1) -> list[int]:
    stabilized, target, found = Stabilized(), first, []
    for second, each in enumerate(needed):
        target, _wait_s = stabilized.engines(each, target, float(second), COLD_START_S)
        found.append(target)
    return found


def test_it_rises_at_once_and_falls_when_the_window_holds_nothing_higher() -> None:
    found = targets([2.0] * 5 + [4.5] + [2.0] * 40)
    assert found[5] == 5
    assert found[5 + WINDOW_S] == 5
    assert found[5 + WINDOW_S + 1] == 3  # 2 and a twentieth


def test_nothing_falls_in_the_first_window() -> None:
    found = targets([1.0] * 40, first=6)
    assert found[WINDOW_S - 1] == 6
    assert found[WINDOW_S] == 2


@settings(max_examples=100, deadline=None)
@given(needed=st.lists(st.floats(0, 20), min_size=1, max_size=60), first=st.integers(0, 20))
def test_it_is_never_below_what_is_needed_and_falls_no_sooner_than_a_window(
    needed: list[float], first: int
) -> None:
    found = targets(needed, first)
    before = first
    for second, (need, target) in enumerate(zip(needed, found, strict=True)):
        assert target >= need - 1e-6
        if target < before:
            assert second >= WINDOW_S
            recent = needed[second - WINDOW_S : second + 1]
            assert target >= max(recent) - 1e-6
        before = target


@settings(max_examples=50, deadline=None)
@given(whole=st.integers(1, 20), noise=st.lists(st.floats(0, 1), min_size=80, max_size=80))
def test_what_varies_about_a_whole_number_by_less_than_the_hysteresis_stays(
    whole: int, noise: list[float]
) -> None:
    width = HYSTERESIS_FRAC * whole * 0.9
    found = targets([whole + width * (2 * each - 1) for each in [1.0, *noise]], first=whole + 1)
    assert set(found) == {whole + 1}


def burst_every(period_s: int, count: int) -> list[float]:
    return ([5.0] + [1.0] * (period_s - 1)) * count


def test_what_was_given_up_and_wanted_again_is_kept_longer_the_next_time() -> None:
    """Bursts twice as far apart as the first window is long: after the first the engines are given
    up, which the second shows to have been too soon; from then on they are there."""
    period_s = 2 * WINDOW_S
    found = targets(burst_every(period_s, 4))
    dips = [min(found[turn * period_s : (turn + 1) * period_s]) for turn in range(4)]
    assert dips == [2, 5, 5, 5]


def test_a_load_that_has_gone_for_good_is_followed_and_the_window_forgets() -> None:
    gone_s = int(2 * REGRET_WINDOWS * MOST_WINDOW_STARTS * COLD_START_S)
    found = targets(burst_every(2 * WINDOW_S, 4) + [1.0] * gone_s + [5.0] + [1.0] * gone_s)
    before = len(found) - gone_s
    assert found[before - 2] == 2
    back = found[before:].index(2)
    assert back <= MOST_WINDOW_STARTS * COLD_START_S


@settings(max_examples=50, deadline=None)
@given(needed=st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_however_often_it_was_regretted_it_falls_in_the_end(needed: list[float]) -> None:
    most_s = int(MOST_WINDOW_STARTS * COLD_START_S)
    assert targets([*needed, *[1.0] * (most_s + 2)])[-1] <= 2
