"""Whose request is next: start-time fair queueing by tokens, first come first served in a tenant.

A tenant's waiting requests carry a *start tag*, in tokens per weight; the tenant with the least is
next. When its request of cost c goes, its tag grows by c / weight, and virtual time, which is the
tag it went at, never falls. A tenant that comes to wait goes on at its own tag, but no lower than
`SAVED_TOKENS` below virtual time; a new one starts at virtual time. (Goyal, Vin, Cheng 1996, who
save nothing; unlike with finish tags, no rate of the server has to be known.)

So of two tenants that both have requests waiting all the time, none gets ahead of the other by more
than one request of each: with W the tokens that went and c the largest cost,

    |W_i / weight_i - W_j / weight_j| <= c_i / weight_i + c_j / weight_j

What a tenant saves while it has nothing waiting lets a small burst of one that uses little go at
once, where each of its requests would otherwise wait for as much of everybody else's.

Costs are estimates until a request ends. Then the tag is moved by the error, so that what counts
are tokens served. An overestimate is given back as far as the tenant has paid it: all of it while
it has been waiting ever since; else only what of its tag stood above the lowest possible when it
came to wait again, since below that it did not wait for it.

Once nothing waits and nothing runs, all is forgotten: what was served in another rush is over.
All operations are O(log tenants), but for `cost_ahead`, which looks at every waiting tenant.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

SAVED_TOKENS = 8192
"""Of its share that a tenant may save: two long prompts. It is the most by which others are delayed
for each tenant that was idle, half a second of an engine that computes 16,000 a second."""


@dataclass(slots=True)
class _Flow:
    """A tenant here. `waiting`: costs by request, next first; `tag`: where the next one starts.

    `spell` counts the times it came to wait; `owed` is what of its tag stood above the lowest then
    possible. `entry` is the number of its valid entry in the heap.
    """

    weight: float
    tag: float
    waiting: OrderedDict[str, float] = field(default_factory=OrderedDict)
    waiting_cost: float = 0.0
    spell: int = 0
    owed: float = 0.0
    entry: int = -1


@dataclass(slots=True)
class _Sent:
    """A request that went, at `cost`, in the tenant's spell of that number."""

    tenant: str
    cost: float
    spell: int


class FairQueue:
    """Requests by ids that are unique in the queue, of tenants by name; costs are in tokens."""

    def __init__(self) -> None:
        self._flows: dict[str, _Flow] = {}
        self._tenant_of: dict[str, str] = {}  # of those that wait
        self._sent: dict[str, _Sent] = {}
        self._heap: list[tuple[float, int, str]] = []  # tag, entry, tenant
        self._entries = count()
        self._virtual = 0.0

    def __len__(self) -> int:
        return len(self._tenant_of)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._tenant_of

    @property
    def waiting_cost(self) -> float:
        return sum(flow.waiting_cost for flow in self._flows.values())

    def waiting_of(self, tenant: str) -> int:
        """How many of its requests wait."""
        flow = self._flows.get(tenant)
        return len(flow.waiting) if flow else 0

    # Coming and going

    def add(
        self, request_id: str, tenant: str, weight: float, cost: float, *, first: bool = False
    ) -> None:
        """A request waits; `first`: before the tenant's others, since it has waited before.

        Raises ValueError for an id that waits already, and for a weight or cost that is not above
        0.
        """
        if request_id in self._tenant_of:
            raise ValueError(f"request {request_id!r} waits already")
        if not weight > 0.0 or not cost > 0.0:
            raise ValueError(f"request {request_id!r} of {cost} tokens at weight {weight}")
        flow = self._flows.setdefault(tenant, _Flow(weight, self._virtual))
        flow.weight = weight
        if not flow.waiting:
            lowest = self._virtual - SAVED_TOKENS / weight
            flow.owed = max(0.0, flow.tag - lowest)
            flow.tag = max(flow.tag, lowest)
            flow.spell += 1
            self._enter(tenant, flow)
        flow.waiting[request_id] = cost
        flow.waiting.move_to_end(request_id, last=not first)
        flow.waiting_cost += cost
        self._tenant_of[request_id] = tenant

    def head(self) -> str | None:
        """The next request; None where none waits."""
        flow = self._next()
        return None if flow is None else next(iter(flow.waiting))

    def pop(self) -> str:
        """The next request goes. It counts at its cost until `settle`. Raises LookupError."""
        flow = self._next()
        if flow is None:
            raise LookupError("no request waits")
        request_id, cost = flow.waiting.popitem(last=False)
        tenant = self._tenant_of.pop(request_id)
        flow.waiting_cost = flow.waiting_cost - cost if flow.waiting else 0.0
        self._virtual = max(self._virtual, flow.tag)
        self._sent[request_id] = _Sent(tenant, cost, flow.spell)
        self._move(tenant, flow, cost / flow.weight)
        return request_id

    def remove(self, request_id: str) -> None:
        """It does not wait any more, and did not go. Unknown ones are ignored."""
        tenant = self._tenant_of.pop(request_id, None)
        if tenant is None:
            return
        flow = self._flows[tenant]
        cost = flow.waiting.pop(request_id)
        flow.waiting_cost = flow.waiting_cost - cost if flow.waiting else 0.0
        self._forget_if_idle()

    # Costs that were wrong

    def correct(self, request_id: str, cost: float) -> None:
        """A request that waits or went costs so much instead. Unknown ones are ignored."""
        sent = self._sent.get(request_id)
        if sent is not None:
            self._correct_sent(sent, cost)
        elif request_id in self._tenant_of:
            flow = self._flows[self._tenant_of[request_id]]
            flow.waiting_cost += cost - flow.waiting[request_id]
            flow.waiting[request_id] = cost

    def settle(self, request_id: str, cost: float) -> None:
        """A request that went is over, at that cost. Unknown ones are ignored."""
        if request_id in self._sent:
            self.correct(request_id, cost)
            del self._sent[request_id]
            self._forget_if_idle()

    def _correct_sent(self, sent: _Sent, cost: float) -> None:
        flow = self._flows[sent.tenant]
        change = (cost - sent.cost) / flow.weight
        sent.cost = cost
        if change < 0.0 and flow.waiting and sent.spell != flow.spell:
            change = -min(-change, flow.owed)
            flow.owed += change
        self._move(sent.tenant, flow, change)

    # What is ahead

    def cost_ahead(self, tenant: str, weight: float) -> float:
        """The tokens that go before a request that the tenant would add now, if no other comes."""
        own = self._flows.get(tenant)
        own_cost = own.waiting_cost if own else 0.0
        tag = own.tag if own else self._virtual
        if not own_cost:
            tag = max(tag, self._virtual - SAVED_TOKENS / weight)
        start = tag + own_cost / weight
        others = (
            min(flow.waiting_cost, flow.weight * max(0.0, start - flow.tag))
            for name, flow in self._flows.items()
            if flow.waiting and name != tenant
        )
        return own_cost + sum(others)

    # The heap has one valid entry for each tenant that waits; others are dropped as they come up.

    def _next(self) -> _Flow | None:
        while self._heap:
            _tag, entry, tenant = self._heap[0]
            flow = self._flows.get(tenant)
            if flow is not None and flow.waiting and flow.entry == entry:
                return flow
            heappop(self._heap)
        return None

    def _move(self, tenant: str, flow: _Flow, change: float) -> None:
        flow.tag += change
        if flow.waiting and change:
            self._enter(tenant, flow)

    def _enter(self, tenant: str, flow: _Flow) -> None:
        flow.entry = next(self._entries)
        heappush(self._heap, (flow.tag, flow.entry, tenant))

    def _forget_if_idle(self) -> None:
        if not self._tenant_of and not self._sent:
            self._flows.clear()
            self._heap.clear()
            self._virtual = 0.0
