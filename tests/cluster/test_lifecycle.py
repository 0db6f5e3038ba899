"""The tables of the lives of a flight and of an engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.lifecycle import ENGINE, FLIGHT, EngineEvent, EngineState, FlightState

FLIGHT_ENDS = {FlightState.FINISHED, FlightState.ABORTED, FlightState.FAILED}


def reachable(table, start):
    seen, left = set(), [start]
    while left:
        state = left.pop()
        if state not in seen:
            seen.add(state)
            left += table.get(state, {}).values()
    return seen


@pytest.mark.parametrize(
    ("table", "start", "states", "ends"),
    [
        pytest.param(FLIGHT, FlightState.HELD, FlightState, FLIGHT_ENDS, id="flight"),
        pytest.param(ENGINE, EngineState.CONNECTING, EngineState, {EngineState.GONE}, id="engine"),
    ],
)
def test_every_state_can_be_reached_and_only_the_ends_are_final(table, start, states, ends):
    assert reachable(table, start) == set(states)
    assert set(states) - table.keys() == ends
    for state in table:
        assert ends & reachable(table, state), f"from {state} there is no end"


def test_serve_may_list_an_engine_or_not_at_any_time():
    for state, events in ENGINE.items():
        assert {EngineEvent.LISTED, EngineEvent.UNLISTED} <= events.keys(), state


@given(st.lists(st.sampled_from(EngineEvent)))
def test_the_state_says_what_serve_and_the_host_said_last(events):
    state, listed, leaves = EngineState.CONNECTING, True, False
    for event in events:
        if event not in ENGINE.get(state, {}):
            continue
        state = ENGINE[state][event]
        listed = {EngineEvent.LISTED: True, EngineEvent.UNLISTED: False}.get(event, listed)
        if event in (EngineEvent.LOST, EngineEvent.LEAVES):
            leaves = event is EngineEvent.LEAVES
        if state.is_up:
            assert state.takes_nothing_new == (leaves or not listed)
        elif not listed:
            assert state is EngineState.GONE
