"""What an engine host says of its KV cache, as messages: batches of changes, and all there is.

The bodies of the kinds KV and KV_ALL (see `wire`). Block names are packed, 8 bytes each,
little-endian: a snapshot of a million blocks is 8 MB.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

import msgspec

from cluster.routing.kv_stream import KvChanges, KvSnapshot
from cluster.types import BlockHash
from serve_app.wire import Frame, Frames, Kind, WireError, kind_of, pack, unpack


class KvBatch(msgspec.Struct, array_like=True, frozen=True):
    """`cluster.routing.kv_stream.KvChanges`, with packed blocks."""

    sequence: int
    stored: bytes
    removed: bytes
    cleared: bool


class KvAll(msgspec.Struct, array_like=True, frozen=True):
    """`cluster.routing.kv_stream.KvSnapshot`, with packed blocks."""

    sequence: int
    blocks: bytes


def changes_message(changes: KvChanges) -> list[Frame]:
    """A KV message."""
    stored, removed = pack_blocks(changes.stored), pack_blocks(changes.removed)
    return pack(Kind.KV, KvBatch(changes.sequence, stored, removed, changes.cleared))


def snapshot_message(held: KvSnapshot) -> list[Frame]:
    """A KV_ALL message."""
    return pack(Kind.KV_ALL, KvAll(held.sequence, pack_blocks(held.blocks)))


def cache_news(frames: Frames) -> KvChanges | KvSnapshot:
    """What a KV or a KV_ALL message says. Raises WireError where it is malformed."""
    if kind_of(frames) is Kind.KV_ALL:
        held = unpack(frames, KvAll)
        return KvSnapshot(sequence=held.sequence, blocks=unpack_blocks(held.blocks))
    batch = unpack(frames, KvBatch)
    return KvChanges(
        sequence=batch.sequence,
        stored=unpack_blocks(batch.stored),
        removed=unpack_blocks(batch.removed),
        cleared=batch.cleared,
    )


def pack_blocks(blocks: Iterable[BlockHash]) -> bytes:
    """Block names as bytes."""
    packed = array("Q", blocks)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_blocks(packed: bytes) -> tuple[BlockHash, ...]:
    """The reverse. Raises WireError for a length that is no multiple of 8."""
    if len(packed) % 8:
        raise WireError(f"{len(packed)} bytes of block names are no multiple of 8")
    names = array("Q", packed)
    if sys.byteorder == "big":
        names.byteswap()
    return tuple(map(BlockHash, names))
