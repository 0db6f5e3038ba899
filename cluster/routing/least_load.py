"""Fewest outstanding tokens, ties at random.

Tokens, not requests: one 30,000-token prompt is more work than ten short ones. Ties are broken at
random because several gateways that all prefer the first of two idle engines would herd onto it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest


class LeastOutstandingTokens:
    """A `cluster.routing.Router` over `ReplicaSnapshot.outstanding_tokens`."""

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        least = min(replica.outstanding_tokens for replica in replicas)
        tied = [replica for replica in replicas if replica.outstanding_tokens == least]
        picked = tied[rng.randrange(len(tied))] if len(tied) > 1 else tied[0]
        return RouteDecision(
            replica_id=picked.id,
            reason=_reason(len(replicas), len(tied)),
            candidates=len(replicas),
            outstanding_tokens=least,
        )


def _reason(candidates: int, tied: int) -> RouteReason:
    if candidates == 1:
        return RouteReason.ONLY
    return RouteReason.TIE if tied > 1 else RouteReason.LEAST_LOADED
