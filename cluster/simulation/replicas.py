"""The engines of a simulated fleet, as they come, work and go.

    starting ── cold start ──▶ ready ── drained ──▶ draining ── nothing left to do ──▶ gone
        └───────── no longer wanted ────────────────────────────────────────────────────▲

An engine that drains gets nothing new and ends what it has. It counts from the decision to start it
until it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.scaling.signals import EngineSignals, EngineState
from cluster.simulation.engine import Engine
from cluster.simulation.events import LOOK, STEP, Action, EventQueue
from cluster.simulation.fleet_plan import EngineKind, FleetPlan
from cluster.simulation.gateway import Gateway
from cluster.simulation.job import Job
from cluster.simulation.records import Life, Sample
from cluster.simulation.scheduler import Outcome
from cluster.types import ReplicaId


@dataclass(slots=True, eq=False)
class Replica:
    """`received`: of each gateway's requests. `due`: which of its `step` events is valid."""

    number: int
    name: ReplicaId
    kind: EngineKind
    engine: Engine
    decided_s: float
    received: list[int]
    state: EngineState = EngineState.STARTING
    ready_s: float | None = None
    gone_s: float | None = None
    due: int = 0

    def signals(self) -> EngineSignals:
        """As of the engine's last `sync`."""
        load = self.engine.load(0)
        return EngineSignals(
            id=self.name,
            state=self.state,
            running_requests=load.running_requests,
            waiting_requests=load.waiting_requests,
            decode_requests=load.decode_requests,
            queued_prefill_tokens=load.queued_prefill_tokens,
            kv_use_frac=load.kv_use_frac,
            kv_total_tokens=self.kind.limits.kv_tokens,
            cached_blocks=self.engine.cached_blocks,
            step_cost=load.step_cost,
        )


class Replicas:
    """`told` passes on what engines tell gateways; `stepped` takes what a step brought; `came` is
    called when there is an engine more for requests."""

    def __init__(
        self,
        plan: FleetPlan,
        gateways: Sequence[Gateway],
        queue: EventQueue,
        told: Action,
        stepped: Callable[[Outcome], None],
        came: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._gateways = gateways
        self._queue = queue
        self._told = told
        self._stepped = stepped
        self._came = came
        self.all: list[Replica] = []
        self._here: dict[ReplicaId, Replica] = {}

    @property
    def here(self) -> list[Replica]:
        """All that are not gone, the oldest first."""
        return list(self._here.values())

    @property
    def routable(self) -> bool:
        return any(replica.state is EngineState.READY for replica in self._here.values())

    def begin(self, engines: int) -> None:
        """So many are there, and ready, from the first instant on."""
        for number in range(engines):
            replica = self._new()
            first_s = self._plan.report_every_s * (number + 1) / engines
            self._join(replica, first_s)

    def start(self, cold_start_s: float) -> None:
        """One more, to be ready then."""
        replica = self._new()
        self._queue.at(self._queue.now_s + cold_start_s, LOOK, self._ready, replica)

    def stop(self, name: ReplicaId) -> None:
        """It starts no more, or ends what it has."""
        replica = self._here[name]
        if replica.state is EngineState.STARTING:
            self._leave(replica)
            return
        replica.state = EngineState.DRAINING
        for gateway in self._gateways:
            gateway.leaving(name)
        self._leave_when_idle(replica)

    def add(self, name: ReplicaId, job: Job, gateway: int) -> int:
        """A request of that gateway; the engine's number. Raises ValueError for one that can never
        fit."""
        replica = self._here[name]
        replica.received[gateway] += 1
        replica.engine.add(job, self._queue.now_s)
        self._wake_when_due(replica)
        return replica.number

    def number(self, name: ReplicaId) -> int:
        return self._here[name].number

    def sync(self) -> None:
        for replica in self._here.values():
            replica.engine.sync(self._queue.now_s)

    def sample(self) -> Sample:
        done = [replica.engine.done for replica in self.all]
        return Sample(
            at_s=self._queue.now_s,
            tokens=tuple(each.tokens for each in done),
            prefill_tokens=tuple(each.prefill_tokens for each in done),
            busy_s=tuple(each.busy_s for each in done),
        )

    def lives(self) -> list[Life]:
        return [
            Life(decided_s=each.decided_s, ready_s=each.ready_s, gone_s=each.gone_s)
            for each in self.all
        ]

    # Coming and going

    def _new(self) -> Replica:
        number = len(self.all)
        kind = self._plan.engines[number % len(self._plan.engines)]
        replica = Replica(
            number=number,
            name=ReplicaId(f"engine-{number}"),
            kind=kind,
            engine=Engine(kind.limits, kind.step_time, jump=self._plan.jump),
            decided_s=self._queue.now_s,
            received=[0] * len(self._gateways),
        )
        self.all.append(replica)
        self._here[replica.name] = replica
        return replica

    def _ready(self, replica: Replica) -> None:
        if replica.gone_s is None:
            self._join(replica, self._plan.report_every_s)
            self._came()

    def _join(self, replica: Replica, first_report_s: float) -> None:
        replica.state = EngineState.READY
        replica.ready_s = self._queue.now_s
        limits = replica.kind.limits
        for gateway in self._gateways:
            gateway.joined(replica.name, limits.kv_tokens, limits.block_tokens)
        self._queue.at(self._queue.now_s + first_report_s, LOOK, self._report, replica)

    def _leave_when_idle(self, replica: Replica) -> None:
        if replica.state is EngineState.DRAINING and replica.engine.due_s is None:
            self._leave(replica)

    def _leave(self, replica: Replica) -> None:
        replica.gone_s = self._queue.now_s
        del self._here[replica.name]
        for gateway in self._gateways:
            self._told(gateway.left, replica.name)

    # Working

    def _wake_when_due(self, replica: Replica) -> None:
        replica.due += 1
        due_s = replica.engine.due_s
        if due_s is not None:
            self._queue.at(due_s, STEP, self._step, replica, replica.due)

    def _step(self, replica: Replica, due: int) -> None:
        if due != replica.due:
            return  # a request arrived since, and the engine's jump was cut
        outcome = replica.engine.step()
        self._publish(replica, with_load=False)
        self._stepped(outcome)
        self._wake_when_due(replica)
        self._leave_when_idle(replica)

    def _report(self, replica: Replica) -> None:
        if replica.gone_s is not None:
            return
        replica.engine.sync(self._queue.now_s)
        self._publish(replica, with_load=True)
        next_s = self._queue.now_s + self._plan.report_every_s
        self._queue.at(next_s, LOOK, self._report, replica)

    def _publish(self, replica: Replica, *, with_load: bool) -> None:
        stored, removed = replica.engine.cache_changes()
        if not (stored or removed or with_load):
            return
        for turn, gateway in enumerate(self._gateways):
            load = replica.engine.load(replica.received[turn]) if with_load else None
            self._told(gateway.heard, replica.name, stored, removed, load)
