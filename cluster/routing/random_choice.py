"""Any replica, all alike. For comparison: what a policy must beat."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest


class RandomChoice:
    """A `cluster.routing.Router` that looks at nothing."""

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        picked = replicas[rng.randrange(len(replicas))]
        return RouteDecision(
            replica_id=picked.id,
            reason=RouteReason.ONLY if len(replicas) == 1 else RouteReason.RANDOM,
            candidates=len(replicas),
            outstanding_tokens=picked.outstanding_tokens,
        )
