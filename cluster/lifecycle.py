"""The lives of a flight (a request between a gateway and the engines) and of an engine, as tables.

Both are as one gateway sees them. What is not in a table cannot happen: from our own code it is a
bug, from a peer it breaks the protocol.
"""

from __future__ import annotations

from enum import StrEnum


class FlightState(StrEnum):
    """Where a flight is; it begins held. The last three are its ends."""

    HELD = "held"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


class FlightEvent(StrEnum):
    """What happens to a flight. `lost`: its engine is taken from it, by whatever."""

    SENT = "sent"
    LOST = "lost"
    FINISHED = "finished"
    ABORTED = "aborted"
    FAILED = "failed"


FLIGHT: dict[FlightState, dict[FlightEvent, FlightState]] = {
    FlightState.HELD: {
        FlightEvent.SENT: FlightState.RUNNING,
        FlightEvent.ABORTED: FlightState.ABORTED,
        FlightEvent.FAILED: FlightState.FAILED,
    },
    FlightState.RUNNING: {
        FlightEvent.LOST: FlightState.HELD,
        FlightEvent.FINISHED: FlightState.FINISHED,
        FlightEvent.ABORTED: FlightState.ABORTED,
        FlightEvent.FAILED: FlightState.FAILED,
    },
}


class EngineState(StrEnum):
    """Where an engine is; it begins connecting.

    Two parties can say that it goes: Serve, by listing it no longer (`unlisted`), and its host
    (`leaving`); `departing` is both. In these three it gets nothing new, and finishes what nobody
    else can. `down`: listed, out of reach, and tried again.
    """

    CONNECTING = "connecting"
    READY = "ready"
    LEAVING = "leaving"
    UNLISTED = "unlisted"
    DEPARTING = "departing"
    DOWN = "down"
    GONE = "gone"

    @property
    def is_up(self) -> bool:
        """Connected, its core running."""
        return self.takes_nothing_new or self is EngineState.READY

    @property
    def takes_nothing_new(self) -> bool:
        """Up, and about to go."""
        return self in (EngineState.LEAVING, EngineState.UNLISTED, EngineState.DEPARTING)


class EngineEvent(StrEnum):
    """What happens to an engine: it says ready or that it leaves, Serve lists it or does not, its
    connection is lost or tried again."""

    READY = "ready"
    LEAVES = "leaves"
    LISTED = "listed"
    UNLISTED = "unlisted"
    LOST = "lost"
    RETRIED = "retried"


ENGINE: dict[EngineState, dict[EngineEvent, EngineState]] = {
    EngineState.CONNECTING: {
        EngineEvent.READY: EngineState.READY,
        EngineEvent.LISTED: EngineState.CONNECTING,
        EngineEvent.UNLISTED: EngineState.GONE,
        EngineEvent.LOST: EngineState.DOWN,
    },
    EngineState.READY: {
        EngineEvent.LEAVES: EngineState.LEAVING,
        EngineEvent.LISTED: EngineState.READY,
        EngineEvent.UNLISTED: EngineState.UNLISTED,
        EngineEvent.LOST: EngineState.DOWN,
    },
    EngineState.LEAVING: {
        EngineEvent.LEAVES: EngineState.LEAVING,
        EngineEvent.LISTED: EngineState.LEAVING,
        EngineEvent.UNLISTED: EngineState.DEPARTING,
        EngineEvent.LOST: EngineState.DOWN,
    },
    EngineState.UNLISTED: {
        EngineEvent.LEAVES: EngineState.DEPARTING,
        EngineEvent.LISTED: EngineState.READY,
        EngineEvent.UNLISTED: EngineState.UNLISTED,
        EngineEvent.LOST: EngineState.GONE,
    },
    EngineState.DEPARTING: {
        EngineEvent.LEAVES: EngineState.DEPARTING,
        EngineEvent.LISTED: EngineState.LEAVING,
        EngineEvent.UNLISTED: EngineState.DEPARTING,
        EngineEvent.LOST: EngineState.GONE,
    },
    EngineState.DOWN: {
        EngineEvent.LISTED: EngineState.DOWN,
        EngineEvent.UNLISTED: EngineState.GONE,
        EngineEvent.RETRIED: EngineState.CONNECTING,
    },
}
