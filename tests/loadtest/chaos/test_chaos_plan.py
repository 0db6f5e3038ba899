"""Which fault comes when: never one too many, and the same again for the same seed."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.chaos.plan import BY_SERVE, ON_ENGINES, Action, Fault, FleetState, Plan

ENGINES = 3
DURATION_S = 600.0
KILL_EVERY_S = 10.0


def plan(faults: tuple[Fault, ...] = tuple(Fault), seed: int = 0) -> Plan:
    return Plan(
        faults,
        engines=ENGINES,
        kill_every_s=KILL_EVERY_S,
        duration_s=DURATION_S,
        rng=Random(seed),
    )


def fleet(
    ready: int = ENGINES, target: int = ENGINES, gateways: int = 2, gateways_target: int = 2
) -> FleetState:
    return FleetState(
        ready=tuple(f"e{index}" for index in range(ready)),
        target=target,
        gateways=tuple(f"g{index}" for index in range(gateways)),
        gateways_target=gateways_target,
    )


STATES = st.lists(
    st.tuples(
        st.builds(
            fleet,
            ready=st.integers(0, 4),
            target=st.integers(ENGINES, ENGINES + 1),
            gateways=st.integers(0, 2),
        ),
        st.floats(0, 30),
    ),
    max_size=60,
)
"""States one after the other, each with the seconds since the one before."""


def played(states: list[tuple[FleetState, float]], seed: int) -> list[tuple[Action | None, float]]:
    """What is done in each state, and when it was asked."""
    asked, found, now_s = plan(seed=seed), [], 0.0
    for state, passed_s in states:
        now_s += passed_s
        found.append((asked.next(state, now_s), now_s))
    return found


@given(STATES, st.integers())
def test_a_fault_leaves_another_engine_and_another_gateway(
    states: list[tuple[FleetState, float]], seed: int
) -> None:
    for (state, _), (action, _) in zip(states, played(states, seed), strict=True):
        if action is None:
            continue
        if action.fault in ON_ENGINES:
            assert action.victim in state.ready
            assert len(state.ready) >= 2
        if action.fault in (Fault.DRAIN, Fault.REDEPLOY):
            assert len(state.ready) >= 2
        if action.fault in (Fault.KILL_GATEWAY, Fault.REDEPLOY):
            assert len(state.gateways) >= 2
        if action.fault is Fault.KILL_GATEWAY:
            assert action.victim in state.gateways


@given(STATES, st.integers())
def test_the_number_of_engines_stays_within_one_of_the_first(
    states: list[tuple[FleetState, float]], seed: int
) -> None:
    for (state, _), (action, _) in zip(states, played(states, seed), strict=True):
        if action is not None and action.fault is Fault.SCALE_UP:
            assert state.target == ENGINES
        if action is not None and action.fault is Fault.DRAIN:
            assert state.target == ENGINES + 1


@given(STATES, st.integers())
def test_faults_keep_their_distance_and_stay_within_the_time(
    states: list[tuple[FleetState, float]], seed: int
) -> None:
    done_s = [now_s for action, now_s in played(states, seed) if action is not None]
    assert all(now_s < DURATION_S for now_s in done_s)
    gaps_s = [late - early for early, late in zip([0.0, *done_s], done_s, strict=False)]
    assert all(gap_s >= KILL_EVERY_S - 1e-6 for gap_s in gaps_s)


@given(STATES, st.integers())
def test_the_same_seed_does_the_same(states: list[tuple[FleetState, float]], seed: int) -> None:
    assert played(states, seed) == played(states, seed)


def test_on_a_whole_fleet_every_fault_gets_its_turn_and_one_redeploy() -> None:
    asked, target, done = plan(), ENGINES, []
    for now_s in range(int(DURATION_S)):
        action = asked.next(fleet(ready=target, target=target), float(now_s))
        if action is not None:
            done.append(action.fault)
            target += {Fault.SCALE_UP: 1, Fault.DRAIN: -1}.get(action.fault, 0)
    assert len(done) == DURATION_S / KILL_EVERY_S - 1
    assert done.count(Fault.REDEPLOY) == 1
    counts = [done.count(fault) for fault in ON_ENGINES]
    assert min(counts) >= 5
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("faults", "state"),
    [
        (ON_ENGINES, fleet(ready=1)),
        ((Fault.KILL_GATEWAY,), fleet(gateways=1)),
        ((Fault.KILL_GATEWAY,), fleet(gateways=2, gateways_target=3)),
        ((Fault.DRAIN,), fleet(target=ENGINES)),
        ((Fault.SCALE_UP,), fleet(target=ENGINES + 1)),
        ((Fault.REDEPLOY,), fleet(gateways=1)),
    ],
    ids=[
        "the only engine left",
        "the only gateway left",
        "a gateway is being replaced",
        "no engine was added",
        "one was added already",
        "no gateway takes over",
    ],
)
def test_a_fault_waits(faults: tuple[Fault, ...], state: FleetState) -> None:
    late_s = DURATION_S / 2
    asked = plan(faults)
    assert asked.next(state, late_s) is None
    able = fleet(ready=4, target=ENGINES + (Fault.DRAIN in faults))
    assert asked.next(able, late_s) is not None


def test_what_serve_does_names_no_victim() -> None:
    for fault in BY_SERVE:
        action = plan((fault,)).next(fleet(4, ENGINES + (fault is Fault.DRAIN)), DURATION_S / 2)
        assert action == Action(fault)
