"""Of two replicas drawn at random, the one with fewer outstanding tokens.

Nearly as even as looking at all of them, and gateways that know nothing of each other do not herd
(M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12, 2001).
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest


class PowerOfTwo:
    """A `cluster.routing.Router` over `ReplicaSnapshot.outstanding_tokens` of two replicas."""

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        first, second = _two(replicas, rng)
        picked = second if second.outstanding_tokens < first.outstanding_tokens else first
        return RouteDecision(
            replica_id=picked.id,
            reason=_reason(first, second),
            candidates=len(replicas),
            outstanding_tokens=picked.outstanding_tokens,
        )


def _two(replicas: Sequence[ReplicaSnapshot], rng: Rng) -> tuple[ReplicaSnapshot, ReplicaSnapshot]:
    """Two different ones, every ordered pair equally likely; the only one twice."""
    if len(replicas) == 1:
        return replicas[0], replicas[0]
    first = rng.randrange(len(replicas))
    second = rng.randrange(len(replicas) - 1)
    return replicas[first], replicas[second + (second >= first)]


def _reason(first: ReplicaSnapshot, second: ReplicaSnapshot) -> RouteReason:
    if first is second:
        return RouteReason.ONLY
    if first.outstanding_tokens == second.outstanding_tokens:
        return RouteReason.TIE
    return RouteReason.LEAST_LOADED
