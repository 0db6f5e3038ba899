"""A ready engine as a switch sees it: what it said of itself, and the flights it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.failover import LossCause, ResumeKind
from cluster.routing.kv_stream import KvSubscriber
from cluster.types import LoadReport, ReplicaId, StepCost
from serve_app.flights import Flight
from serve_app.wire import Load, Ready


@dataclass(slots=True)
class Engine:
    """`clock_shift_s` takes its monotonic clock to ours. One that is `leaving` gets nothing new,
    and loses what another can take over. `load` came at `load_at_s`."""

    id: ReplicaId
    ready: Ready
    clock_shift_s: float
    cache: KvSubscriber
    flights: dict[str, Flight] = field(default_factory=dict)  # by attempt id
    load: Load = field(default_factory=lambda: Load(0, 0, 0.0, 0))
    load_at_s: float = 0.0
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

    def take(self, flight: Flight, attempt_id: str) -> None:
        """Have the flight until it is taken out of `flights`."""
        flight.fingerprint = self.ready.fingerprint
        self.flights[attempt_id] = flight


def load_report(load: Load) -> LoadReport:
    """What the router may know of an engine's report."""
    cost = load.step_cost
    return LoadReport(
        running_requests=load.running_requests,
        waiting_requests=load.waiting_requests,
        decode_requests=load.decode_requests,
        queued_prefill_tokens=load.queued_prefill_tokens,
        kv_use_frac=load.kv_use_frac,
        received=load.received,
        step_cost=None
        if cost is None
        else StepCost(base_s=cost[0], prefill_token_s=cost[1], decode_request_s=cost[2]),
    )


@dataclass(frozen=True, slots=True)
class Move:
    """A request went on with another engine, `tokens` of its answer behind it."""

    at_s: float
    request: str
    before: ReplicaId
    after: ReplicaId
    cause: LossCause
    tokens: int


@dataclass(frozen=True, slots=True)
class Loss:
    """An engine that left unasked."""

    at_s: float
    engine_id: ReplicaId
    cause: LossCause
