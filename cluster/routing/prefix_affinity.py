"""Where the longest part of the prompt went before, unless that replica has too much to do.

Approximate: it remembers what it sent where, and not what the engines have dropped since, or what
other gateways sent. For comparison with the exact index, and for engines without KV events.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Self

from cluster.routing.least_load import LeastOutstandingTokens
from cluster.types import (
    BlockHash,
    ReplicaId,
    ReplicaSnapshot,
    Rng,
    RouteDecision,
    RouteReason,
    RouteRequest,
)

LOAD_BOUND = 1.5
"""Times the mean of outstanding tokens, and one request like this on top, above which a replica is
left out. The default of SGLang's cache-aware router (`balance_rel_threshold`)."""

MAX_BLOCKS = 262_144
"""Blocks remembered, the ones used last: of 16 tokens each, what four engines of 1 M tokens hold.
About 0.4 KB each."""


class PrefixAffinity:
    """A `cluster.routing.Router` over `RouteRequest.blocks` and `outstanding_tokens`."""

    def __init__(self, max_blocks: int = MAX_BLOCKS) -> None:
        if max_blocks < 1:
            raise ValueError(f"max_blocks: {max_blocks} is below the minimum 1")
        self._max_blocks = max_blocks
        self._holders: OrderedDict[BlockHash, frozenset[ReplicaId]] = OrderedDict()
        self._least_load = LeastOutstandingTokens()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self)(self._max_blocks)
        copied._holders = self._holders.copy()  # holds only what cannot change
        return copied

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        holders = self._longest_match(request.blocks, replicas)
        most_tokens = _most_outstanding_tokens(request, replicas)
        with_room = [r for r in holders if r.outstanding_tokens <= most_tokens]
        least = self._least_load.choose(request, with_room or replicas, rng)
        self._sent(request.blocks, least.replica_id, replicas)
        return RouteDecision(
            replica_id=least.replica_id,
            reason=_reason(least, held=bool(holders), room=bool(with_room), of=len(replicas)),
            candidates=len(replicas),
            outstanding_tokens=least.outstanding_tokens,
        )

    def _longest_match(
        self, blocks: Sequence[BlockHash], replicas: Sequence[ReplicaSnapshot]
    ) -> list[ReplicaSnapshot]:
        """Those that got every block of the longest part of the prompt that any got; none if none
        got the first."""
        matching: frozenset[ReplicaId] = frozenset()
        left = frozenset(replica.id for replica in replicas)
        for block in blocks:
            left = left & self._holders.get(block, frozenset())
            if not left:
                break
            matching = left
        return [replica for replica in replicas if replica.id in matching]

    def _sent(
        self, blocks: Sequence[BlockHash], to: ReplicaId, replicas: Sequence[ReplicaSnapshot]
    ) -> None:
        present = frozenset(replica.id for replica in replicas)
        for block in reversed(blocks):  # the first is used last: without it the others are no use
            holders = self._holders.get(block, frozenset()) | {to}
            if len(holders) > 2 * len(present):  # many have left for good
                holders &= present
            self._holders[block] = holders
            self._holders.move_to_end(block)
        while len(self._holders) > self._max_blocks:
            self._holders.popitem(last=False)


def _most_outstanding_tokens(request: RouteRequest, replicas: Sequence[ReplicaSnapshot]) -> float:
    mean = sum(replica.outstanding_tokens for replica in replicas) / len(replicas)
    return LOAD_BOUND * mean + request.prompt_tokens + request.max_output_tokens


def _reason(least: RouteDecision, *, held: bool, room: bool, of: int) -> RouteReason:
    if of == 1:
        return RouteReason.ONLY
    if room:
        return RouteReason.AFFINITY
    return RouteReason.SPILLED if held else least.reason
