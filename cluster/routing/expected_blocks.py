"""Blocks that a replica will soon hold: those of requests just routed to it.

Part of `cluster.routing.prefix_index`. Between a request's routing and the first event of its
blocks lie its wait and its prefill; without this, a burst that shares a prefix would spread over
the fleet as if nobody were about to compute that prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.types import BlockHash, ReplicaId


@dataclass(slots=True)
class _Expected:
    """What one replica is expected to hold: by how many tickets each block, and by which."""

    bit: int
    tickets_of: dict[BlockHash, int] = field(default_factory=dict)
    tickets: set[str] = field(default_factory=set)


class ExpectedBlocks:
    """Which replicas are expected to hold a block, by the tickets (requests) not yet settled.

    `masks`: for each expected block the replicas' bits, as in the index. A replica's bit may
    change (`move`) while it has tickets. Expecting and settling cost about 0.2 us a block each.
    """

    def __init__(self) -> None:
        self.masks: dict[BlockHash, int] = {}
        self._tickets: dict[str, tuple[ReplicaId, Sequence[BlockHash]]] = {}
        self._replicas: dict[ReplicaId, _Expected] = {}

    def __len__(self) -> int:
        """How many tickets are not settled."""
        return len(self._tickets)

    def expect(
        self, ticket: str, replica: ReplicaId, bit: int, blocks: Sequence[BlockHash]
    ) -> None:
        """Raises ValueError for a ticket that is not settled yet."""
        if ticket in self._tickets:
            raise ValueError(
                f"ticket {ticket!r} already expects blocks at {self._tickets[ticket][0]!r}, "
                f"so it cannot at {replica!r}"
            )
        expected = self._replicas.setdefault(replica, _Expected(bit))
        bit = expected.bit
        self._tickets[ticket] = (replica, blocks)
        expected.tickets.add(ticket)
        tickets_of, masks = expected.tickets_of, self.masks
        for block in blocks:
            tickets = tickets_of.get(block, 0)
            tickets_of[block] = tickets + 1
            if not tickets:
                others = masks.get(block)
                masks[block] = others | bit if others else bit  # `bit` itself: lookups compare it

    def settle(self, ticket: str) -> None:
        """Expect nothing for the ticket any longer; nothing where it is settled."""
        if ticket not in self._tickets:
            return
        replica, blocks = self._tickets.pop(ticket)
        expected = self._replicas[replica]
        expected.tickets.discard(ticket)
        tickets_of = expected.tickets_of
        for block in blocks:
            tickets = tickets_of[block] - 1
            if tickets:
                tickets_of[block] = tickets
            else:
                del tickets_of[block]
                self._flip(block, expected.bit)
        if not expected.tickets:
            del self._replicas[replica]

    def move(self, replica: ReplicaId, bit: int) -> None:
        """The replica has another bit from now on."""
        expected = self._replicas.get(replica)
        if expected is None:
            return
        for block in expected.tickets_of:
            self.masks[block] ^= expected.bit | bit
        expected.bit = bit

    def drop(self, replica: ReplicaId) -> None:
        """Settle all tickets of a replica."""
        expected = self._replicas.pop(replica, None)
        if expected is None:
            return
        for block in expected.tickets_of:
            self._flip(block, expected.bit)
        for ticket in expected.tickets:
            del self._tickets[ticket]

    def _flip(self, block: BlockHash, bit: int) -> None:
        """Take the bit, which it has, out of a block's mask."""
        mask = self.masks[block] ^ bit
        if mask:
            self.masks[block] = mask
        else:
            del self.masks[block]
