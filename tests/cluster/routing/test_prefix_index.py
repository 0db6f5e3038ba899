"""The prefix index against a dict of sets, under whatever can happen to replicas and requests."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.routing import prefix_index
from cluster.routing.prefix_index import SHARDS, SWEPT_BLOCKS, PrefixIndex
from cluster.types import BlockHash, ReplicaId

REPLICAS = [ReplicaId(name) for name in "abc"]
# Few blocks, several of which share a shard, so that events meet.
BLOCKS = [BlockHash(number * 3 + SHARDS * (number % 2)) for number in range(6)]

some_replica = st.sampled_from(REPLICAS)
some_blocks = st.lists(st.sampled_from(BLOCKS), max_size=6)
some_ticket = st.sampled_from(["r1", "r2", "r3"])


def leading(blocks: list[BlockHash], held: set[BlockHash]) -> int:
    return next((depth for depth, block in enumerate(blocks) if block not in held), len(blocks))


class IndexAgainstDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex()
        self.held: dict[ReplicaId, set[BlockHash]] = {replica: set() for replica in REPLICAS}
        self.tickets: dict[str, tuple[ReplicaId, list[BlockHash]]] = {}

    @rule(replica=some_replica, blocks=some_blocks)
    def store(self, replica, blocks):
        self.index.store(replica, iter(blocks))
        self.held[replica].update(blocks)

    @rule(replica=some_replica, blocks=some_blocks)
    def remove(self, replica, blocks):
        self.index.remove(replica, iter(blocks))
        self.held[replica].difference_update(blocks)

    @rule(replica=some_replica)
    def clear(self, replica):
        self.index.clear(replica)
        self.held[replica].clear()

    @rule(replica=some_replica, blocks=some_blocks)
    def replace(self, replica, blocks):
        self.index.replace(replica, iter(blocks))
        self.held[replica] = set(blocks)

    @rule(replica=some_replica)
    def drop(self, replica):
        self.index.drop(replica)
        self.held[replica].clear()
        self.tickets = {t: at for t, at in self.tickets.items() if at[0] != replica}

    @rule(ticket=some_ticket, replica=some_replica, blocks=some_blocks)
    def expect(self, ticket, replica, blocks):
        if ticket in self.tickets:
            with pytest.raises(ValueError, match=ticket):
                self.index.expect(ticket, replica, blocks)
        else:
            self.index.expect(ticket, replica, blocks)
            self.tickets[ticket] = (replica, blocks)

    @rule(ticket=some_ticket)
    def settle(self, ticket):
        self.index.settle(ticket)
        self.tickets.pop(ticket, None)

    @rule(calls=st.sampled_from([1, SHARDS // 2, SHARDS]))
    def sweep(self, calls):
        for _ in range(calls):
            self.index.sweep()

    @invariant()
    def it_finds_what_the_dict_has_from_any_block_on(self):
        has = {replica: set(held) for replica, held in self.held.items()}
        for replica, expected in self.tickets.values():
            has[replica].update(expected)
        for start in range(len(BLOCKS)):
            blocks = BLOCKS[start:] + BLOCKS[:start] + [BlockHash(1)]
            depths = {replica: leading(blocks, held) for replica, held in has.items()}
            assert self.index.lookup(blocks) == {r: depth for r, depth in depths.items() if depth}

    @invariant()
    def it_holds_what_the_dict_holds(self):
        assert {replica: self.index.blocks(replica) for replica in REPLICAS} == self.held
        assert len(self.index) == sum(map(len, self.held.values()))


TestIndexAgainstDict = IndexAgainstDict.TestCase
TestIndexAgainstDict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_is_expected_outlives_a_clear():
    index = PrefixIndex()
    index.store(REPLICAS[0], BLOCKS[:1])
    index.expect("r1", REPLICAS[0], BLOCKS)
    index.clear(REPLICAS[0])
    assert index.lookup(BLOCKS) == {REPLICAS[0]: len(BLOCKS)}
    index.settle("r1")
    assert index.lookup(BLOCKS) == {}


def test_a_replica_is_found_as_far_as_it_is_expected_to_hold_where_nothing_is_held():
    index = PrefixIndex()
    index.expect("r1", REPLICAS[0], BLOCKS[:2])
    assert index.lookup(BLOCKS) == {REPLICAS[0]: 2}


def swept(index: PrefixIndex) -> int:
    """Sweep to the end; how many calls that took."""
    calls = 1
    while index.sweep():
        calls += 1
    return calls


def test_a_replica_that_leaves_is_forgotten_at_once_and_swept_out_in_pieces():
    index = PrefixIndex()
    blocks = [BlockHash(number) for number in range(SHARDS * (SWEPT_BLOCKS + 1))]
    index.store(REPLICAS[0], blocks)
    index.store(REPLICAS[1], blocks[:10])
    index.drop(REPLICAS[0])
    assert index.lookup(blocks) == {REPLICAS[1]: 10}
    assert len(index) == 10
    assert swept(index) == 2 * SHARDS
    assert sum(map(len, index._shards)) == 10


def test_a_bit_is_given_again_only_when_nothing_has_it():
    index = PrefixIndex()
    for number in range(20):  # each leaves while those before are not swept out
        replica = ReplicaId(f"r{number}")
        index.store(replica, [BLOCKS[0]])
        index.drop(replica)
        assert index.lookup(BLOCKS) == {}
    swept(index)
    assert sorted(index._free) == list(range(len(index._replicas)))
    for replica in REPLICAS:
        index.store(replica, [BLOCKS[1]])
    assert max(index._slot_of.values()) < 20  # of the bits there were
    assert index.lookup(BLOCKS[1:]) == dict.fromkeys(REPLICAS, 1)


def test_sets_of_replicas_are_shared_and_remembered_within_a_bound(monkeypatch):
    monkeypatch.setattr(prefix_index, "SHARED_MASKS", 300)
    index = PrefixIndex()
    replicas = [ReplicaId(f"r{number}") for number in range(12)]
    for number in range(2000):  # nearly as many sets as blocks
        for bit, replica in enumerate(replicas):
            if number >> bit & 1:
                index.store(replica, [BlockHash(number)])
    assert len(index._masks) <= 302
    assert index.lookup([BlockHash(1999)]) == {
        replica: 1 for bit, replica in enumerate(replicas) if 1999 >> bit & 1
    }


def test_many_blocks_of_one_replica_share_its_set():
    index = PrefixIndex()
    for number in range(80):  # sets beyond the integers that Python shares by itself
        index.store(ReplicaId(f"r{number}"), [BlockHash(10**6 + number)])
    index.store(ReplicaId("r79"), map(BlockHash, range(5000)))
    masks = {id(mask) for shard in index._shards for block, mask in shard.items() if block < 5000}
    assert len(masks) == 1
