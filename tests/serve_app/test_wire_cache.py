"""What is said of a cache on the wire is what arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routing.kv_stream import KvChanges, KvSnapshot
from serve_app.wire import Kind, WireError, kind_of, pack
from serve_app.wire_cache import (
    KvAll,
    KvBatch,
    cache_news,
    changes_message,
    pack_blocks,
    snapshot_message,
    unpack_blocks,
)

blocks = st.lists(st.integers(0, 2**64 - 1)).map(tuple)
sequences = st.integers(0, 2**63)


@given(
    st.builds(KvChanges, sequence=sequences, stored=blocks, removed=blocks, cleared=st.booleans())
)
def test_changes_arrive(changes):
    message = changes_message(changes)
    assert kind_of(message) is Kind.KV
    assert cache_news(message) == changes


@given(st.builds(KvSnapshot, sequence=sequences, blocks=blocks))
def test_a_snapshot_arrives(held):
    message = snapshot_message(held)
    assert kind_of(message) is Kind.KV_ALL
    assert cache_news(message) == held


@given(blocks)
def test_a_block_takes_eight_bytes(names):
    packed = pack_blocks(names)
    assert len(packed) == 8 * len(names)
    assert unpack_blocks(packed) == names


def test_blocks_are_little_endian_whatever_the_machine_is():
    assert pack_blocks([1, 2**63]) == b"\x01" + bytes(7) + bytes(7) + b"\x80"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(pack(Kind.KV, KvBatch(1, b"1234567", b"", False)), id="stored"),
        pytest.param(pack(Kind.KV, KvBatch(1, b"", b"123456789", False)), id="removed"),
        pytest.param(pack(Kind.KV_ALL, KvAll(1, b"1")), id="all"),
        pytest.param([b"K", b"\x91\x01"], id="a batch cut short"),
        pytest.param([b"k", b"\xc1"], id="no msgpack"),
    ],
)
def test_what_is_malformed_is_refused(message):
    with pytest.raises(WireError):
        cache_news(message)
