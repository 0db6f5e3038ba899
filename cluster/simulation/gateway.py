"""One gateway of the simulated fleet: the live cluster's view and router, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cluster.routing import Router
from cluster.routing.fleet_view import FleetView
from cluster.scaling.limits import Slo
from cluster.scaling.request_counts import RequestCounts
from cluster.types import BlockHash, LoadReport, ReplicaId, Rng, RouteRequest


class Routed(NamedTuple):
    """Where a request goes, and what of its prompt that is expected to hold."""

    replica: ReplicaId
    cached_tokens: int


class Gateway:
    def __init__(self, router: Router, rng: Rng, slo: Slo) -> None:
        self.counts = RequestCounts(slo)
        self.held_requests = 0  # for want of an engine
        self._router = router
        self._rng = rng
        self._view = FleetView()
        self._replicas: list[ReplicaId] = []  # that requests may go to
        self._known: set[ReplicaId] = set()

    def joined(self, replica: ReplicaId, kv_tokens: int, block_tokens: int) -> None:
        self._view.joined(replica, kv_total_tokens=kv_tokens, block_tokens=block_tokens)
        self._replicas.append(replica)
        self._known.add(replica)

    def leaving(self, replica: ReplicaId) -> None:
        """It gets nothing new."""
        self._replicas.remove(replica)

    def left(self, replica: ReplicaId) -> None:
        """It is gone, with all that it held."""
        self._known.discard(replica)
        self._view.left(replica)

    def route(self, attempt_id: str, request: RouteRequest) -> Routed:
        """Picks a replica, of one at least, and counts the request as sent there."""
        replicas = self._view.snapshots(request, self._replicas)
        picked = self._router.choose(request, replicas, self._rng).replica_id
        cached = next(each.cached_tokens for each in replicas if each.id == picked)
        self._view.sent(picked, attempt_id, request, cached)
        return Routed(picked, cached)

    def heard(
        self,
        replica: ReplicaId,
        stored: Sequence[BlockHash],
        removed: Sequence[BlockHash],
        report: LoadReport | None,
    ) -> None:
        """What a replica sends beside tokens: its cache's changes, and its load now and then."""
        if replica not in self._known:
            return
        if removed:
            self._view.index.remove(replica, removed)
        if stored:
            self._view.index.store(replica, stored)
        if report is not None:
            self._view.reported(replica, report)

    def answered(self, began: Sequence[str], ended: Sequence[str]) -> None:
        """Attempts of this gateway that got their first token, and that are over."""
        for attempt_id in began:
            self._view.began(attempt_id)
        for attempt_id in ended:
            self._view.ended(attempt_id)
