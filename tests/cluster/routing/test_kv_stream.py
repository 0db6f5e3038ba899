"""The stream of cache changes: what a publisher makes of vLLM's events, and that whatever a channel
does to its batches, a subscriber ends with what the publisher has."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.block_hash import block_hashes
from cluster.routing.kv_stream import (
    Accepted,
    KvChanges,
    KvPublisher,
    KvSnapshot,
    KvSubscriber,
    extra_names,
)
from cluster.routing.prefix_index import PrefixIndex
from cluster.types import BlockHash, ReplicaId

HERE = ReplicaId("here")
TOKENS = 4  # of a block


def publisher() -> KvPublisher:
    return KvPublisher(block_tokens=TOKENS)


def chain(*first: int) -> list[int]:
    """Tokens of one block for each number, all alike within a block."""
    return [number for number in first for _ in range(TOKENS)]


def names(*first: int) -> list[BlockHash]:
    return block_hashes(chain(*first), TOKENS)


def engine_names(*first: int) -> list[bytes]:
    """What vLLM might call the blocks of that chain."""
    return [repr(first[: depth + 1]).encode() for depth in range(len(first))]


def store(at: KvPublisher, *first: int, after: int = 0, where: object = None) -> None:
    """The chain is cached from its block number `after` on."""
    engine = engine_names(*first)
    parent = engine[after - 1] if after else None
    at.stored(engine[after:], parent, chain(*first[after:]), TOKENS, None, where)


# What a publisher makes of events


def test_a_batch_names_blocks_by_their_content_and_place():
    host = publisher()
    store(host, 1, 2)
    store(host, 1, 2, 3, after=2)
    changes = host.take()
    assert changes == KvChanges(sequence=1, stored=tuple(names(1, 2, 3)))
    assert host.take() is None
    host.removed(engine_names(1, 2, 3)[1:])
    assert host.take() == KvChanges(sequence=2, removed=tuple(names(1, 2, 3)[1:]))
    host.cleared()
    assert host.take() == KvChanges(sequence=3, cleared=True)
    assert host.snapshot() == KvSnapshot(sequence=3)


@pytest.mark.parametrize("engine_hash", [b"\x00" * 32, 12345], ids=["bytes", "an integer"])
def test_vllms_hashes_may_be_bytes_or_integers(engine_hash):
    host = publisher()
    host.stored([engine_hash], None, chain(1), TOKENS, None)
    assert host.blocks == set(names(1))
    host.removed([engine_hash])
    assert host.blocks == set()


def test_a_block_is_gone_with_its_last_copy_only():
    host = publisher()
    store(host, 1)
    store(host, 1)
    store(host, 1, where=("CPU", 0))
    host.take()
    engine = engine_names(1)
    for where in (None, ("CPU", 0)):
        host.removed(engine, where)
        host.removed(engine, ("CPU", 1))  # where it never was
        assert host.take() is None
    host.removed(engine)
    assert host.take() == KvChanges(sequence=2, removed=tuple(names(1)))


def test_what_cannot_be_named_is_left_out_and_counted():
    host = publisher()
    store(host, 1, 2, 3, after=1)  # two blocks of an unknown parent
    host.stored([b"large"], None, chain(1, 1), 2 * TOKENS, None)
    host.stored([b"last of three"], None, chain(1, 2, 3), TOKENS, None)
    assert (host.left_out, host.blocks) == (4, set())
    host.removed([b"large", *engine_names(1, 2, 3)])
    assert host.take() is None


def test_a_chain_goes_on_from_a_block_that_is_known_though_its_parent_is_not():
    host = publisher()
    store(host, 1, 2)
    host.removed(engine_names(1))
    store(host, 1, 2, 3, after=1)
    assert host.left_out == 0
    assert host.blocks == set(names(1, 2, 3)[1:])


def test_extras_tell_blocks_of_the_same_tokens_apart():
    keys = [("adapter", ("image", 3), "salt"), ("adapter", ["image", -1]), None]
    host = publisher()
    host.stored([1, 2, 3], None, chain(1, 2, 3), TOKENS, keys)
    extras = [extra_names(key) for key in keys]
    assert extras == [
        ("name adapter", "item 3 image", "name salt"),
        ("name adapter", "item -1 image"),
        (),
    ]
    assert host.blocks == set(block_hashes(chain(1, 2, 3), TOKENS, extras))
    assert not host.blocks & set(names(1, 2, 3))


keys = st.one_of(
    st.text(max_size=3), st.binary(max_size=3), st.tuples(st.text(max_size=3), st.integers(-5, 5))
)


@given(st.tuples(keys, keys))
def test_other_keys_have_other_names(pair):
    one, other = pair
    assert (extra_names([one]) == extra_names([other])) == (one == other)


@pytest.mark.parametrize("key", [3, None, ("image",), (3, "image")], ids=str)
def test_a_key_of_a_kind_that_vllm_does_not_have_is_refused(key):
    with pytest.raises(ValueError, match="extra key"):
        extra_names([key])


# Both ends over a channel

words = st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)
where = st.sampled_from([None, "CPU"])
events = st.one_of(
    st.tuples(st.just("store"), words, where),
    st.tuples(st.just("evict"), words, where),
    st.tuples(st.just("clear"), st.none(), st.none()),
    st.tuples(st.just("take"), st.none(), st.none()),
    st.tuples(st.just("snapshot"), st.none(), st.none()),
)


def play(host: KvPublisher, event: tuple) -> KvChanges | KvSnapshot | None:
    what, word, tier = event
    match what:
        case "store":
            store(host, *word, where=tier)
        case "evict":
            host.removed(engine_names(*word)[-1:], tier)
        case "clear":
            host.cleared()
        case "take":
            return host.take()
        case "snapshot":
            return host.snapshot()
    return None


def receive(switch: KvSubscriber, message: KvChanges | KvSnapshot) -> Accepted:
    if isinstance(message, KvSnapshot):
        return switch.restore(message)
    return switch.accept(message)


@given(st.lists(st.one_of(events), max_size=40))
@settings(deadline=None)
def test_a_publisher_holds_what_has_copies(played):
    """The oracle: a multiset of (block, tier)."""
    host, copies = publisher(), Counter()
    for event in played:
        play(host, event)
        what, word, tier = event
        match what:
            case "store":
                copies.update((word[: depth + 1], tier) for depth in range(len(word)))
            case "evict" if copies[word, tier]:
                copies[word, tier] -= 1
            case "clear":
                copies.clear()
    assert host.blocks == {names(*word)[-1] for (word, _), number in copies.items() if number}
    assert host.left_out == 0


@given(
    st.lists(st.tuples(events, st.sampled_from(["pass", "lose", "repeat", "delay"])), max_size=50)
)
@settings(max_examples=300, deadline=None)
def test_over_a_channel_that_loses_repeats_and_reorders_both_ends_come_to_agree(played):
    host, index = publisher(), PrefixIndex()
    switch = KvSubscriber(HERE, index)
    delayed: list[KvChanges | KvSnapshot] = []
    for event, fate in played:
        message = play(host, event)
        if message is None:
            continue
        if fate == "delay":
            delayed.append(message)
            continue
        for _ in range({"pass": 1, "lose": 0, "repeat": 2}[fate]):
            receive(switch, message)
        if len(delayed) > 2:
            receive(switch, delayed.pop())  # the later of them first
    for message in delayed:
        receive(switch, message)
    # From here on nothing is lost: the next change shows what is missing.
    store(host, 9)
    if switch.accept(host.take()) is not Accepted.APPLIED:
        assert switch.waiting
        assert switch.restore(host.snapshot()) is Accepted.APPLIED
    assert index.blocks(HERE) == host.blocks
    host.cleared()
    store(host, 8)
    assert switch.accept(host.take()) is Accepted.APPLIED
    assert index.blocks(HERE) == host.blocks == set(names(8))


@given(st.lists(events, max_size=40))
@settings(deadline=None)
def test_over_a_channel_that_loses_nothing_both_ends_agree_after_every_batch(played):
    host, index = publisher(), PrefixIndex()
    switch = KvSubscriber(HERE, index)
    switch.restore(host.snapshot())
    for event in played:
        message = play(host, event)
        if message is not None:
            assert receive(switch, message) is Accepted.APPLIED
            assert index.blocks(HERE) == host.blocks


# A subscriber, message by message


def batch(sequence: int) -> KvChanges:
    return KvChanges(sequence=sequence, stored=(BlockHash(sequence),))


def test_a_gap_asks_once_and_nothing_counts_until_the_snapshot():
    index = PrefixIndex()
    switch = KvSubscriber(HERE, index)
    assert switch.restore(KvSnapshot(sequence=4)) is Accepted.APPLIED
    said = [switch.accept(batch(sequence)) for sequence in (5, 5, 7, 8, 6)]
    assert said == ["applied", "ignored", "gap", "ignored", "ignored"]
    assert index.blocks(HERE) == {5}
    assert switch.waiting
    assert switch.restore(KvSnapshot(sequence=8, blocks=(BlockHash(1),))) is Accepted.APPLIED
    assert not switch.waiting
    assert switch.accept(batch(9)) is Accepted.APPLIED
    assert index.blocks(HERE) == {1, 9}


def test_one_that_joins_late_asks_at_the_first_batch():
    switch = KvSubscriber(HERE, PrefixIndex())
    assert [switch.accept(batch(7)), switch.accept(batch(8))] == ["gap", "ignored"]


def test_a_snapshot_older_than_a_batch_seen_does_not_close_the_gap():
    index = PrefixIndex()
    switch = KvSubscriber(HERE, index)
    switch.accept(batch(7))
    assert switch.restore(KvSnapshot(sequence=6, blocks=(BlockHash(1),))) is Accepted.GAP
    assert index.blocks(HERE) == set()
    assert switch.restore(KvSnapshot(sequence=7)) is Accepted.APPLIED


def test_a_snapshot_that_is_late_and_not_needed_changes_nothing():
    index = PrefixIndex()
    switch = KvSubscriber(HERE, index)
    switch.restore(KvSnapshot(sequence=1))
    switch.accept(batch(2))
    assert switch.restore(KvSnapshot(sequence=1)) is Accepted.IGNORED
    assert index.blocks(HERE) == {2}
