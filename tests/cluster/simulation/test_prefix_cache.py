"""Blocks of an engine's cache: never more than there are, given up in vLLM's order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.simulation.prefix_cache import Held, PrefixCache
from cluster.types import BlockHash

A, B, C, D, E = map(BlockHash, range(1, 6))


def filled(cache: PrefixCache, *names: BlockHash) -> list[Held]:
    """A request that computed these blocks, and holds them."""
    cache.allocate(len(names))
    return cache.name(names)


def test_a_prefix_is_found_up_to_the_first_block_that_is_missing() -> None:
    cache = PrefixCache(10)
    filled(cache, A, B, D)
    assert cache.find([A, B, C, D]) == (2, 2)


def test_freed_blocks_stay_findable_and_the_end_of_a_request_goes_first() -> None:
    cache = PrefixCache(4)
    cache.release(filled(cache, A, B, C))
    assert cache.find([A, B, C]) == (3, 0)
    filled(cache, D)  # the one block never used
    filled(cache, E)  # in place of C
    assert cache.find([A, B, C]) == (2, 0)


def test_the_request_freed_longest_ago_is_given_up_first_unless_it_was_used_again() -> None:
    cache = PrefixCache(2)
    first, second = filled(cache, A), filled(cache, B)
    cache.release(first)
    cache.release(second)
    cache.hold([A])
    cache.release([A])
    filled(cache, C)
    assert (A in cache, B in cache) == (True, False)


def test_blocks_without_full_content_are_taken_before_any_that_can_be_found() -> None:
    cache = PrefixCache(2)
    cache.release(filled(cache, A))
    cache.allocate(1)
    cache.release([None])
    filled(cache, B)
    assert A in cache


def test_a_block_that_two_hold_is_free_when_both_are_done() -> None:
    cache = PrefixCache(1)
    cache.release(filled(cache, A))
    cache.hold([A])
    cache.hold([A])
    cache.release([A])
    assert cache.free_blocks == 0
    cache.release([A])
    assert cache.free_blocks == 1


def test_the_second_of_two_equal_blocks_has_no_name() -> None:
    cache = PrefixCache(2)
    filled(cache, A)
    assert filled(cache, A) == [None]


def test_changes_say_what_was_stored_and_removed_since_the_last_time() -> None:
    cache = PrefixCache(2)
    cache.release(filled(cache, A, B))
    assert cache.changes() == ([A, B], [])
    filled(cache, C)
    assert cache.changes() == ([C], [B])
    assert cache.changes() == ([], [])


class AnyUse(RuleBasedStateMachine):
    """Requests come and go at random; whoever follows the changes knows the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(12)
        self.requests: list[list[Held]] = []
        self.known: set[BlockHash] = set()

    @rule(first=st.integers(1, 6), size=st.integers(1, 7), partial=st.booleans())
    def begin(self, first: int, size: int, partial: bool) -> None:
        names = [BlockHash(number) for number in range(first, first + size)]
        found, held = self.cache.find(names)
        if size + partial - held > self.cache.free_blocks:
            return
        self.cache.hold(names[:found])
        self.cache.allocate(size + partial - found)
        blocks = [*names[:found], *self.cache.name(names[found:])]
        self.requests.append(blocks + [None] * partial)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.requests) - 1))
        self.cache.release(self.requests.pop(place))

    @invariant()
    def no_block_is_lost_or_held_twice(self) -> None:
        self.cache.check()
        shared = {block for blocks in self.requests for block in blocks if block is not None}
        unnamed = sum(blocks.count(None) for blocks in self.requests)
        used = len(shared) + unnamed
        assert self.cache.free_blocks == self.cache.capacity_blocks - used

    @invariant()
    def the_changes_add_up_to_the_content(self) -> None:
        stored, removed = self.cache.changes()
        self.known = (self.known | set(stored)) - set(removed)
        assert all((BlockHash(n) in self.cache) == (n in self.known) for n in range(1, 14))


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
