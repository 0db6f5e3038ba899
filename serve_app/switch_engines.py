"""A ready engine as a switch sees it: what it said of itself, and the flights it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.failover import LossCause, ResumeKind
from cluster.types import ReplicaId, ReplicaSnapshot
from serve_app.flights import Flight
from serve_app.wire import Load, Ready


@dataclass(slots=True)
class Engine:
    """`clock_shift_s` takes its monotonic clock to ours. One that is `leaving` gets nothing new,
    and loses what another can take over."""

    id: ReplicaId
    ready: Ready
    clock_shift_s: float
    flights: dict[str, Flight] = field(default_factory=dict)  # by attempt id
    outstanding_tokens: int = 0
    load: Load = field(default_factory=lambda: Load(0, 0, 0.0, 0))
    leaving: bool = False

    def may_take(self, flight: Flight) -> bool:
        """Not where it leaves; and a stream never continues on other weights, though one that has
        not begun may start on any."""
        if self.leaving:
            return False
        return not flight.emitted or self.ready.fingerprint == flight.fingerprint

    def can_resume(self, kind: ResumeKind) -> bool:
        """Whether it can go on in that way."""
        return kind is not ResumeKind.REPLAY or self.ready.can_replay

    def take(self, flight: Flight, attempt_id: str, load_tokens: int) -> None:
        """Have the flight, as so much load, until `release`."""
        flight.fingerprint = self.ready.fingerprint
        flight.load_tokens = load_tokens
        self.flights[attempt_id] = flight
        self.outstanding_tokens += load_tokens

    def release(self, attempt_id: str) -> None:
        """Have it no longer; nothing where it had it not."""
        flight = self.flights.pop(attempt_id, None)
        if flight is not None:
            self.outstanding_tokens -= flight.load_tokens

    def snapshot(self) -> ReplicaSnapshot:
        """What the router may know."""
        return ReplicaSnapshot(
            id=self.id,
            outstanding_tokens=self.outstanding_tokens,
            inflight_requests=len(self.flights),
            running_requests=self.load.running_requests,
            waiting_requests=self.load.waiting_requests,
            kv_use_frac=self.load.kv_use_frac,
        )


@dataclass(frozen=True, slots=True)
class Loss:
    """An engine that left unasked."""

    at_s: float
    engine_id: ReplicaId
    cause: LossCause
