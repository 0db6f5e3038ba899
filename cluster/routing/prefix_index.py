"""Which replica holds which KV blocks: one model, all its replicas, exact by their own events.

A block maps to the set of replicas that hold it, as the bits of an integer; a lookup walks the
prompt's blocks and keeps the replicas that held every one so far. Equal sets share one integer, so
what a block costs is its entry and its key.

A replica that leaves, or loses everything at once, gives up its bit, and the bit's traces are swept
out in small pieces by the calls that follow; a bit is given to another replica only once nothing
has it. That is why the blocks lie in shards: each is listed, and grows, by itself, so that no call
ever waits for the whole table (a Python dict of 700,000 entries took 33 ms to grow).

Memory, by tracemalloc in CPython 3.11: 65 to 88 bytes a block, by how full its shard is, and 12
that the allocator adds: at most 100 MB a million. More holders of a block cost nothing more where
many blocks have the same ones. One expected somewhere costs about 130 bytes until it is settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.routing.expected_blocks import ExpectedBlocks
from cluster.types import BlockHash, ReplicaId

SHARDS = 256
"""A power of two. More would make each piece of a sweep shorter, and each step of a lookup longer:
with 1,024, whose heads no longer stay in the CPU's cache, a lookup takes a quarter more."""

LAST_SHARD = SHARDS - 1

SWEPT_BLOCKS = 512
"""In one call."""

SHARED_MASKS = 65_536
"""Sets of replicas remembered to be shared. When there are more, they are forgotten, which only
costs memory: later blocks with the same set get an integer of their own."""


class PrefixIndex:
    """The blocks that replicas hold, and those that they are expected to.

    A replica is known from its first block or expectation until `drop`. Events must come in order:
    `cluster.routing.kv_stream` sees to that.
    """

    def __init__(self) -> None:
        self._shards: list[dict[BlockHash, int]] = [{} for _ in range(SHARDS)]
        self._masks: dict[int, int] = {}
        self._expected = ExpectedBlocks()
        self._slot_of: dict[ReplicaId, int] = {}
        self._replicas: list[ReplicaId | None] = []  # by slot
        self._held: list[int] = []  # blocks, by slot
        self._free: list[int] = []  # slots
        self._live = 0  # bits of replicas
        self._retired = 0  # bits to sweep out when the sweep under way, if any, is done
        self._sweeping = 0  # bits being swept out
        self._next_shard = 0
        self._unswept: list[BlockHash] = []  # of that shard

    def __len__(self) -> int:
        """How many (replica, block) pairs are held, without the expected ones."""
        return sum(self._held[slot] for slot in self._slot_of.values())

    def blocks(self, replica: ReplicaId) -> frozenset[BlockHash]:
        """What a replica holds, without what it is expected to. Reads the whole index."""
        slot = self._slot_of.get(replica)
        if slot is None:
            return frozenset()
        return frozenset(
            block for shard in self._shards for block, mask in shard.items() if mask >> slot & 1
        )

    def lookup(self, blocks: Sequence[BlockHash]) -> dict[ReplicaId, int]:
        """How many leading `blocks` each replica holds or is expected to; those with any."""
        found: dict[ReplicaId, int] = {}
        having = self._live
        if not having or not blocks:
            return found
        shards, expected = self._shards, self._expected.masks
        mask = soon = having
        for depth, block in enumerate(blocks):
            mask_before, soon_before = mask, soon
            mask = shards[block & LAST_SHARD].get(block, 0)
            soon = expected.get(block, 0)
            if mask is mask_before and soon is soon_before:
                continue  # one shared integer along most of a prompt: nothing is lost here
            still = having & (mask | soon)
            if still != having:
                if depth:
                    self._note(found, having ^ still, depth)
                if not still:
                    return found
                having = still
        self._note(found, having, len(blocks))
        return found

    def _note(self, found: dict[ReplicaId, int], bits: int, depth: int) -> None:
        while bits:
            slot = bits.bit_length() - 1
            bits ^= 1 << slot
            replica = self._replicas[slot]
            assert replica is not None
            found[replica] = depth

    # What happens in the replicas

    def store(self, replica: ReplicaId, blocks: Iterable[BlockHash]) -> None:
        """The replica holds these too. Those it held already are ignored."""
        self.sweep()
        slot = self._slot(replica)
        bit, shards, masks = 1 << slot, self._shards, self._masks
        if len(masks) > SHARED_MASKS:
            masks.clear()
        added = 0
        for block in blocks:
            shard = shards[block & LAST_SHARD]
            mask = shard.get(block, 0)
            if not mask & bit:
                mask |= bit
                shard[block] = masks.setdefault(mask, mask)
                added += 1
        self._held[slot] += added

    def remove(self, replica: ReplicaId, blocks: Iterable[BlockHash]) -> None:
        """The replica no longer holds these. Those it did not hold are ignored."""
        self.sweep()
        slot = self._slot_of.get(replica)
        if slot is None:
            return
        bit = 1 << slot
        for block in blocks:
            shard = self._shards[block & LAST_SHARD]
            mask = shard.get(block, 0)
            if mask & bit:
                self._set(shard, block, mask ^ bit)
                self._held[slot] -= 1

    def clear(self, replica: ReplicaId) -> None:
        """The replica holds nothing now. What it is expected to hold, it still is.

        Costs no more however much it held: see the module's docstring.
        """
        slot = self._slot_of.get(replica)
        if slot is None or not self._held[slot]:
            return
        self._retire(slot)
        del self._slot_of[replica]
        self._expected.move(replica, 1 << self._slot(replica))

    def replace(self, replica: ReplicaId, blocks: Iterable[BlockHash]) -> None:
        """The replica holds exactly these. Costs as much as to `store` them."""
        self.clear(replica)
        self.store(replica, blocks)

    def drop(self, replica: ReplicaId) -> None:
        """The replica left: it holds nothing, and is expected to hold nothing.

        Costs no more however much it held: see the module's docstring.
        """
        self._expected.drop(replica)
        slot = self._slot_of.pop(replica, None)
        if slot is not None:
            self._retire(slot)

    # What requests will make of it

    def expect(self, ticket: str, replica: ReplicaId, blocks: Sequence[BlockHash]) -> None:
        """Count these as held at the replica until `settle(ticket)`, or until it is dropped.

        Raises ValueError for a ticket that is not settled yet.
        """
        self._expected.expect(ticket, replica, 1 << self._slot(replica), blocks)

    def settle(self, ticket: str) -> None:
        """The events of the ticket's blocks have come, or will not; nothing where it is settled."""
        self._expected.settle(ticket)

    # Bits

    def _slot(self, replica: ReplicaId) -> int:
        """The replica's, or a new one."""
        slot = self._slot_of.get(replica)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._replicas)
            self._replicas.append(None)
            self._held.append(0)
        self._replicas[slot], self._held[slot] = replica, 0
        self._slot_of[replica] = slot
        self._live |= 1 << slot
        return slot

    def _retire(self, slot: int) -> None:
        self._live &= ~(1 << slot)
        self._replicas[slot] = None
        if self._held[slot]:
            self._retired |= 1 << slot
        else:
            self._free.append(slot)

    def sweep(self) -> bool:
        """Take the bits of what left out of `SWEPT_BLOCKS`; whether there is more to do.

        Every `store` and `remove` does it, so nobody else needs to.
        """
        if not self._sweeping:
            if not self._retired:
                return False
            self._sweeping, self._retired = self._retired, 0
            self._next_shard = 0
            self._unswept = list(self._shards[0])
        gone, shard = self._sweeping, self._shards[self._next_shard]
        for block in self._unswept[-SWEPT_BLOCKS:]:
            mask = shard.get(block, 0)
            if mask & gone:
                self._set(shard, block, mask & ~gone)
        del self._unswept[-SWEPT_BLOCKS:]
        if not self._unswept:
            self._sweep_next_shard()
        return bool(self._sweeping or self._retired)

    def _sweep_next_shard(self) -> None:
        self._next_shard += 1
        if self._next_shard < SHARDS:
            self._unswept = list(self._shards[self._next_shard])
        else:
            gone, self._sweeping = self._sweeping, 0
            self._free += [slot for slot in range(len(self._replicas)) if gone >> slot & 1]

    def _set(self, shard: dict[BlockHash, int], block: BlockHash, mask: int) -> None:
        if mask:
            shard[block] = self._masks.setdefault(mask, mask)
        else:
            del shard[block]
