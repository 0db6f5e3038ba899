"""The fair queues of the two priority classes: no batch request goes while an interactive waits.

Within a class tenants share by weight. `batch` has no share of its own: it waits as long as
interactive requests do, and its tenants' `max_wait_s` says when they give up.
"""

from __future__ import annotations

from cluster.admission.fair_queue import FairQueue
from cluster.admission.tenants import Priority, Tenant


class ClassQueue:
    """Requests by ids unique in both classes. Costs are in tokens."""

    def __init__(self) -> None:
        self._queues: dict[Priority, FairQueue] = {"interactive": FairQueue(), "batch": FairQueue()}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __contains__(self, request_id: str) -> bool:
        return any(request_id in queue for queue in self._queues.values())

    def waiting(self, priority: Priority) -> int:
        return len(self._queues[priority])

    def waiting_cost(self, priority: Priority) -> float:
        return self._queues[priority].waiting_cost

    def waiting_of(self, tenant: Tenant) -> int:
        return self._queues[tenant.priority].waiting_of(tenant.name)

    def add(self, request_id: str, tenant: Tenant, cost: float, *, first: bool = False) -> None:
        """Raises ValueError for an id that waits already, and a cost that is not above 0."""
        queue = self._queues[tenant.priority]
        queue.add(request_id, tenant.name, tenant.weight, cost, first=first)

    def head(self) -> str | None:
        """The next request; None where none waits."""
        return self._queues["interactive"].head() or self._queues["batch"].head()

    def pop(self) -> str:
        """The next request goes. Raises LookupError where none waits."""
        first: Priority = "interactive" if len(self._queues["interactive"]) else "batch"
        return self._queues[first].pop()

    def remove(self, request_id: str) -> None:
        for queue in self._queues.values():
            queue.remove(request_id)

    def correct(self, request_id: str, cost: float) -> None:
        for queue in self._queues.values():
            queue.correct(request_id, cost)

    def settle(self, request_id: str, cost: float) -> None:
        for queue in self._queues.values():
            queue.settle(request_id, cost)

    def cost_ahead(self, tenant: Tenant) -> float:
        """The tokens that go before a request that the tenant would add now, if no other comes."""
        ahead = self._queues[tenant.priority].cost_ahead(tenant.name, tenant.weight)
        if tenant.priority == "batch":
            ahead += self._queues["interactive"].waiting_cost
        return ahead
