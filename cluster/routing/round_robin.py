"""Whose last turn is longest ago.

Not an index that counts up modulo the number of replicas: that skips some and repeats others
whenever one comes or goes. Replicas without a turn so far are next, in random order, so that
gateways that start together do not all begin with the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.types import ReplicaId, ReplicaSnapshot, Rng, RouteDecision, RouteReason, RouteRequest

NEVER = -1


class RoundRobin:
    """A `cluster.routing.Router` that looks at no load: n replicas get every n-th request each."""

    def __init__(self) -> None:
        self._turns: dict[ReplicaId, int] = {}  # the number of each one's last turn
        self._turn = 0

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        longest_ago = min(self._turns.get(replica.id, NEVER) for replica in replicas)
        next_ones = [r for r in replicas if self._turns.get(r.id, NEVER) == longest_ago]
        picked = next_ones[rng.randrange(len(next_ones))] if len(next_ones) > 1 else next_ones[0]
        self._took(picked.id, replicas)
        return RouteDecision(
            replica_id=picked.id,
            reason=RouteReason.ONLY if len(replicas) == 1 else RouteReason.TURN,
            candidates=len(replicas),
            outstanding_tokens=picked.outstanding_tokens,
        )

    def _took(self, replica_id: ReplicaId, replicas: Sequence[ReplicaSnapshot]) -> None:
        self._turns[replica_id] = self._turn
        self._turn += 1
        if len(self._turns) > 2 * len(replicas):
            present = {replica.id for replica in replicas}
            self._turns = {each: turn for each, turn in self._turns.items() if each in present}
