"""The life of a flight (a request between a gateway and the engines), as a table.

    held ──sent──▶ running ──finished──▶ finished
      ▲              │
      └─────lost─────┘        held, running ──aborted──▶ aborted
                              held, running ──failed───▶ failed

A flight begins held. "Lost" is whatever takes its engine from it: a death, a removal, a hedge.
What is not in the table cannot happen; that it did is a bug of ours, and raises KeyError.
"""

from __future__ import annotations

from enum import StrEnum


class FlightState(StrEnum):
    """Where a flight is. The last three are its ends."""

    HELD = "held"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


class FlightEvent(StrEnum):
    """What happens to a flight."""

    SENT = "sent"
    LOST = "lost"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


FLIGHT: dict[tuple[FlightState, FlightEvent], FlightState] = {
    (FlightState.HELD, FlightEvent.SENT): FlightState.RUNNING,
    (FlightState.HELD, FlightEvent.ABORTED): FlightState.ABORTED,
    (FlightState.HELD, FlightEvent.FAILED): FlightState.FAILED,
    (FlightState.RUNNING, FlightEvent.LOST): FlightState.HELD,
    (FlightState.RUNNING, FlightEvent.FINISHED): FlightState.FINISHED,
    (FlightState.RUNNING, FlightEvent.ABORTED): FlightState.ABORTED,
    (FlightState.RUNNING, FlightEvent.FAILED): FlightState.FAILED,
}
