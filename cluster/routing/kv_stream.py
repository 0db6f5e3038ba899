"""The stream of an engine's cache changes to a switch: both ends, without what carries it.

An engine host has one `KvPublisher`, fed with vLLM's events, and numbers batches of changes from 1.
A switch has one `KvSubscriber` for each engine it is connected to, which applies them to its
`PrefixIndex`. A host sends `publisher.snapshot()` to a switch that connects, and to one that asks
because a batch went missing; a subscriber applies nothing between a gap and the next snapshot.

A batch states facts, not steps: which blocks are there after it, which are not. So the order within
it does not matter, and it may follow a snapshot that already has a part of it.

Sources: vLLM 0.32, `vllm/distributed/kv_events.py`, `v1/core/block_pool.py` and
`v1/core/kv_cache_utils.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cluster.routing.block_hash import ROOT, block_hash
from cluster.routing.prefix_index import PrefixIndex
from cluster.types import BlockHash, ReplicaId

EngineHash = bytes | int
"""vLLM's own name of a block: compared, never computed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvChanges:
    """Batch `sequence`: where `cleared`, all earlier blocks are gone; then `removed` are gone, and
    `stored` are there."""

    sequence: int
    stored: tuple[BlockHash, ...] = ()
    removed: tuple[BlockHash, ...] = ()
    cleared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSnapshot:
    """All blocks there are after batch `sequence`, or a little later."""

    sequence: int
    blocks: tuple[BlockHash, ...] = ()


def extra_names(extra_keys: Sequence[Any] | None) -> tuple[str, ...]:
    """What tells a block from others of the same tokens, as `block_hash` takes it.

    `extra_keys`: one block's entry of `BlockStored.extra_keys`, None where it has none. A gateway
    makes the same entry for the block of prompt tokens [start, end) of a request, in this order:
    1. the LoRA adapter's name, where it has one: for every block;
    2. for every multimodal item at prompt positions [offset, offset + length) that overlaps the
       block, by offset: `(identifier, offset - start)`, negative for one begun in a block before;
    3. the cache salt, where it has one: for the first block only;
    4. for a prompt given as embeddings, the SHA-256 digest (bytes) of the block's rows.

    vLLM publishes the names of LoRA and salt alike, and of a LoRA no path. So two first blocks that
    differ only in which of them is the name, and adapters of one name at two paths, are not told
    apart here, though vLLM does: a lookup may then promise blocks that are not there.

    Raises ValueError for a key of any other kind.
    """
    return tuple(_extra_name(key) for key in extra_keys or ())


def _extra_name(key: Any) -> str:
    match key:
        case str():
            return f"name {key}"
        case bytes():
            return f"embeds {key.hex()}"
        case [str(identifier), int(offset)]:
            return f"item {offset} {identifier}"
    raise ValueError(
        f"extra key {key!r} of a KV block is no name, no (identifier, offset) and no digest"
    )


@dataclass(slots=True)
class _Block:
    """A block by vLLM's name: ours, and how many copies of it lie where."""

    name: BlockHash
    copies: dict[Hashable, int] = field(default_factory=dict)


class KvPublisher:
    """An engine's cached blocks by our names, and the changes not yet sent.

    Only blocks of `block_tokens` tokens count. What cannot be named is left out, and counted in
    `left_out`: blocks of another size (partial ones, or of a group with larger blocks), those whose
    parent is unknown, and those of an event that skips some of its tokens' blocks (vLLM's sliding
    windows and recurrent states keep only some).

    vLLM may hold several copies of a block: of two requests that computed it at the same time, in
    several cache groups, in several tiers. It tells of each; a block is gone with its last copy.
    """

    def __init__(self, *, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.left_out = 0
        self.sequence = 0  # of the last batch
        self._blocks: dict[EngineHash, _Block] = {}
        self._held: dict[BlockHash, int] = {}  # by how many of `_blocks`
        self._touched: dict[BlockHash, None] = {}  # since the last batch, in order
        self._cleared = False

    @property
    def blocks(self) -> frozenset[BlockHash]:
        """What the engine holds."""
        return frozenset(self._held)

    @property
    def held_blocks(self) -> int:
        """How many of them there are."""
        return len(self._held)

    def stored(
        self,
        engine_hashes: Sequence[EngineHash],
        parent_engine_hash: EngineHash | None,
        tokens: Sequence[int],
        block_tokens: int,
        extras: Sequence[Sequence[Any] | None] | None,
        where: Hashable = None,
    ) -> None:
        """A chain of blocks is cached, after its parent (None: from the prompt's start).

        `extras`: vLLM's extra keys, one entry for each block, or None. `where` tells tiers and
        cache groups apart, such as `(event.medium, event.group_idx)`.
        """
        whole = len(tokens) == len(engine_hashes) * block_tokens
        if block_tokens != self.block_tokens or not whole:
            self.left_out += len(engine_hashes)
            return
        before = ROOT if parent_engine_hash is None else self._name(parent_engine_hash)
        for index, engine_hash in enumerate(engine_hashes):
            name = self._name(engine_hash)
            if name is None and before is not None:
                content = tokens[index * block_tokens : (index + 1) * block_tokens]
                name = block_hash(before, content, extra_names(extras[index] if extras else None))
            if name is None:
                self.left_out += 1
            else:
                self._add(engine_hash, name, where)
            before = name

    def removed(self, engine_hashes: Iterable[EngineHash], where: Hashable = None) -> None:
        """One copy of each is gone from there. Those that were left out are ignored."""
        for engine_hash in engine_hashes:
            block = self._blocks.get(engine_hash)
            if block is None or where not in block.copies:
                continue
            block.copies[where] -= 1
            if not block.copies[where]:
                del block.copies[where]
            if not block.copies:
                del self._blocks[engine_hash]
                self._release(block.name)

    def cleared(self) -> None:
        """All blocks are gone."""
        self._blocks.clear()
        self._held.clear()
        self._touched.clear()
        self._cleared = True

    def take(self) -> KvChanges | None:
        """The next batch, for all subscribers; None where nothing changed."""
        if not self._touched and not self._cleared:
            return None
        self.sequence += 1
        changes = KvChanges(
            sequence=self.sequence,
            stored=tuple(name for name in self._touched if name in self._held),
            removed=tuple(name for name in self._touched if name not in self._held),
            cleared=self._cleared,
        )
        self._touched.clear()
        self._cleared = False
        return changes

    def leading(self, blocks: Iterable[BlockHash]) -> int:
        """How many of a prompt's blocks the engine holds, up to the first that it does not."""
        count = 0
        for name in blocks:
            if name not in self._held:
                break
            count += 1
        return count

    def snapshot(self) -> KvSnapshot:
        """For a subscriber that joins or asks; the next batch it needs is the next taken."""
        return KvSnapshot(sequence=self.sequence, blocks=tuple(self._held))

    def _name(self, engine_hash: EngineHash) -> BlockHash | None:
        block = self._blocks.get(engine_hash)
        return None if block is None else block.name

    def _add(self, engine_hash: EngineHash, name: BlockHash, where: Hashable) -> None:
        block = self._blocks.get(engine_hash)
        if block is None:
            block = self._blocks[engine_hash] = _Block(name)
            self._held[name] = self._held.get(name, 0) + 1
            self._touched[name] = None
        block.copies[where] = block.copies.get(where, 0) + 1

    def _release(self, name: BlockHash) -> None:
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
            self._touched[name] = None


class Accepted(StrEnum):
    """What became of a message."""

    APPLIED = "applied"
    IGNORED = "ignored"  # a duplicate, or a snapshot is on its way
    GAP = "gap"  # ask for a snapshot now


class KvSubscriber:
    """Keeps a `PrefixIndex` equal to one engine's cache, for the time of one connection.

    It starts without a snapshot. `GAP` is answered once for each snapshot that it needs; over a
    channel that may lose the question or the answer, ask again while `waiting`.
    """

    def __init__(self, replica: ReplicaId, index: PrefixIndex) -> None:
        self.waiting = True
        self._replica, self._index = replica, index
        self._asked = False
        self._applied = 0  # sequence of the last batch in the index
        self._newest = 0  # sequence of the newest batch seen

    def accept(self, changes: KvChanges) -> Accepted:
        """A batch; applied only if it is the one after the last."""
        self._newest = max(self._newest, changes.sequence)
        if not self.waiting and changes.sequence <= self._applied:
            return Accepted.IGNORED
        if self.waiting or changes.sequence > self._applied + 1:
            return self._need_snapshot()
        if changes.cleared:
            self._index.clear(self._replica)
        self._index.remove(self._replica, changes.removed)
        self._index.store(self._replica, changes.stored)
        self._applied = changes.sequence
        return Accepted.APPLIED

    def restore(self, snapshot: KvSnapshot) -> Accepted:
        """A snapshot. One older than a batch already seen does not close the gap: `GAP` again."""
        if snapshot.sequence < self._newest:
            self._asked = False
            return self._need_snapshot() if self.waiting else Accepted.IGNORED
        self._index.replace(self._replica, snapshot.blocks)
        self._applied = self._newest = snapshot.sequence
        self.waiting = self._asked = False
        return Accepted.APPLIED

    def _need_snapshot(self) -> Accepted:
        self.waiting = True
        if self._asked:
            return Accepted.IGNORED
        self._asked = True
        return Accepted.GAP
