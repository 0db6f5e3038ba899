"""A session stays with one replica, until that has too many requests.

Rendezvous hashing (Thaler, Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
ToN 6, 1998): each session ranks the replicas in an order of its own, alike in every gateway, and
goes to the first. When a replica leaves, only its sessions move, and not all to the same other one.

With bounded loads (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA
2018): a replica with `LOAD_BOUND` times its share of this gateway's requests in flight is passed
over for the next in the session's order. Requests that name no session go to the least loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from xxhash import xxh3_64_intdigest

from cluster.routing.affinity_key import hashed
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest

LOAD_BOUND = 1.25
"""Times the mean of requests in flight, rounded up. As the paper's authors run it (1 + 1/4): a
lower bound moves more sessions, a higher one lets queues grow."""


class SessionAffinity:
    """A `cluster.routing.Router` over `RouteRequest.affinity_key` and `inflight_requests`."""

    def __init__(self) -> None:
        self._without_key = LeastOutstandingTokens()

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        if request.affinity_key is None:
            return self._without_key.choose(request, replicas, rng)
        ranked = _ranked(hashed(request.affinity_key), replicas)
        room = most_inflight(replicas)
        picked = next(replica for replica in ranked if replica.inflight_requests < room)
        return RouteDecision(
            replica_id=picked.id,
            reason=_reason(picked is ranked[0], len(replicas)),
            candidates=len(replicas),
            outstanding_tokens=picked.outstanding_tokens,
        )


def most_inflight(replicas: Sequence[ReplicaSnapshot]) -> int:
    """Requests that one replica may have in flight once this one is added. Some replica always has
    fewer: the least loaded has at most the mean without this one."""
    inflight = sum(replica.inflight_requests for replica in replicas) + 1
    return ceil(LOAD_BOUND * inflight / len(replicas))


def _ranked(key: str, replicas: Sequence[ReplicaSnapshot]) -> list[ReplicaSnapshot]:
    seed = int(key.removeprefix("#"), base=16)
    return sorted(replicas, key=lambda r: (xxh3_64_intdigest(r.id.encode(), seed=seed), r.id))


def _reason(first: bool, candidates: int) -> RouteReason:
    if candidates == 1:
        return RouteReason.ONLY
    return RouteReason.AFFINITY if first else RouteReason.SPILLED
