"""One model's requests at one gateway, from being offered to being at an engine.

Limits are checked before, by `cluster.admission.admission`, whose part this is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from cluster.admission.class_queue import ClassQueue
from cluster.admission.drain_rate import DrainRate
from cluster.admission.engine_room import AHEAD_S, EngineState, Rooms, engine_room
from cluster.admission.output_estimate import OutputEstimate
from cluster.admission.pausing import RunningBatch, to_pause
from cluster.admission.predicted_wait import Prediction, wait_s
from cluster.admission.request_size import RequestSize
from cluster.admission.tenants import Tenant
from cluster.admission_spec import AdmissionSpec
from cluster.types import ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What a model's requests may wait, by the spec, and what its engines are held to.

    `hold_timeout_s`: instead of `max_wait_s` while no engine is up, if it is longer. `itl_s`: the
    longest that a step of its engines should take, from the model's SLO; None for any.
    """

    max_wait_s: float
    hold_timeout_s: float
    itl_s: float | None = None

    def max_wait_of(self, tenant: Tenant) -> float:
        return self.max_wait_s if tenant.max_wait_s is None else tenant.max_wait_s


@dataclass(slots=True, kw_only=True)
class Entry:
    """A request in the model's queue or past it.

    `size`: of what is still to come. `counted`: what its tenant's share has been charged for turns
    before this one. `pauses`: how often it came back.
    """

    request_id: str
    tenant: Tenant
    offered_at_s: float
    size: RequestSize
    counted: float = 0.0
    pauses: int = 0


class ModelQueue:
    def __init__(self, limits: ModelLimits, spec: AdmissionSpec, now_s: float) -> None:
        self.limits = limits
        self.estimate = OutputEstimate()
        self.queue = ClassQueue()
        self.share = 1.0
        self.ahead_s = AHEAD_S
        self._spec = spec
        self._drain = DrainRate(now_s)
        self._entries: dict[str, Entry] = {}
        self._given: dict[str, Entry] = {}  # gone, but not in the engines' snapshots yet
        self._rooms = Rooms()
        self._reported_at_s: dict[ReplicaId, float] = {}
        self._paused_at_s: dict[ReplicaId, float] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._gone_cost = 0.0

    # Requests

    def prediction(self, tenant: Tenant, now_s: float) -> Prediction:
        """Of the wait of a request that the tenant would add now."""
        return Prediction(
            wait_s=wait_s(self.queue.cost_ahead(tenant), self._drain.per_s(now_s)),
            max_wait_s=self.limits.max_wait_of(tenant),
            margin_frac=self._spec.refuse_margin_frac,
        )

    def has_place(self, tenant: Tenant) -> bool:
        """Whether another of its requests may wait: it may have as many as places are free.
        (Dynamic thresholds; Choudhury and Hahne 1998.)"""
        free = self._spec.max_queued_requests - len(self.queue)
        return self.queue.waiting_of(tenant) < free

    def add(self, entry: Entry) -> bool:
        """A request comes; whether it goes at once."""
        self._entries[entry.request_id] = entry
        self.queue.add(entry.request_id, entry.tenant, entry.size.cost)
        if self.queue.head() == entry.request_id and self._has_room_for(entry):
            self._pop()
            return True
        deadline_s = entry.offered_at_s + self.limits.max_wait_of(entry.tenant)
        heappush(self._deadlines, (deadline_s, entry.request_id))
        return False

    def release(self, engines: Sequence[EngineState], now_s: float) -> list[str]:
        """Those that go now, in this order, to engines that are as given."""
        self._look(engines, now_s)
        sent: list[str] = []
        while (head := self.queue.head()) is not None and self._has_room_for(self._entries[head]):
            sent.append(self._pop())
        self._drain.went(self._gone_cost, len(engines), now_s, waits=len(self.queue) > 0)
        self._gone_cost = 0.0
        return sent

    def expired(self, engines: int, now_s: float) -> list[str]:
        """Those that have waited too long; they still have to be `remove`d."""
        late: list[str] = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _deadline_s, request_id = heappop(self._deadlines)
            entry = self._entries.get(request_id)
            if entry is None or request_id not in self.queue or entry.pauses:
                continue
            held_until_s = entry.offered_at_s + self.limits.hold_timeout_s
            if not engines and held_until_s > now_s:
                heappush(self._deadlines, (held_until_s, request_id))
            else:
                late.append(request_id)
        return late

    def sent(self, request_id: str) -> None:
        self._given.pop(request_id, None)

    def resize(self, request_id: str, size: RequestSize) -> None:
        """It turns out to be of another size, before its first tokens."""
        self._entries[request_id].size = size
        self.queue.correct(request_id, size.cost)

    def pause(self, request_id: str, served: float, rest: RequestSize) -> None:
        """A batch request at an engine comes back, with `served` tokens of its cost served."""
        entry = self._entries[request_id]
        self.sent(request_id)
        self.queue.settle(request_id, max(0.0, served - entry.counted))
        entry.counted, entry.size = served, rest
        entry.pauses += 1
        self.queue.add(request_id, entry.tenant, rest.cost, first=True)

    def end(self, request_id: str, served: float) -> None:
        """It went and is over, at a cost of `served` tokens in all; or it leaves the queue."""
        entry = self._entries.pop(request_id)
        self.sent(request_id)
        self.queue.remove(request_id)
        self.queue.settle(request_id, max(0.0, served - entry.counted))

    def to_pause(self, running: Iterable[RunningBatch], now_s: float) -> list[str]:
        """Batch requests to move out so that the next interactive one can go; none twice on one
        engine before it has reported again."""
        head = self.queue.head()
        if head is None or self._entries[head].tenant.priority == "batch":
            return []
        lacking = {
            replica_id: lack
            for replica_id, lack in self._rooms.lacking(self._entries[head].size.need).items()
            if self._paused_at_s.get(replica_id, -inf) < self._reported_at_s[replica_id]
        }
        chosen = to_pause(running, lacking)
        for each in chosen:
            self._paused_at_s[each.replica_id] = now_s
        return [each.request_id for each in chosen]

    # What is known of it

    @property
    def engines(self) -> int:
        """As of the last `release`."""
        return self._drain.engines

    @property
    def next_deadline_s(self) -> float | None:
        while self._deadlines and self._deadlines[0][1] not in self.queue:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def drain_tokens_per_s(self, now_s: float) -> float | None:
        return self._drain.per_s(now_s)

    def _look(self, engines: Sequence[EngineState], now_s: float) -> None:
        """Take the room from what the engines say, and from what is on its way to them."""
        self._rooms = Rooms(
            engine_room(
                engine,
                typical_output_tokens=self.estimate.typical_tokens,
                itl_s=self.limits.itl_s,
                share=self.share,
                ahead_s=self.ahead_s,
            )
            for engine in engines
        )
        for entry in self._given.values():
            self._rooms.count(entry.size.need)
        self._reported_at_s = {e.snapshot.id: now_s - e.report_age_s for e in engines}
        for gone in self._paused_at_s.keys() - self._reported_at_s.keys():
            del self._paused_at_s[gone]

    def _has_room_for(self, entry: Entry) -> bool:
        return not self._spec.queue_at_gateway or self._rooms.take(
            entry.size.need, entry.tenant.priority
        )

    def _pop(self) -> str:
        request_id = self.queue.pop()
        entry = self._given[request_id] = self._entries[request_id]
        self._gone_cost += entry.size.cost
        return request_id
