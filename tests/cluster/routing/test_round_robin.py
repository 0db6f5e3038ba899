"""Whose turn it is, also while replicas come and go."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.round_robin import RoundRobin
from cluster.types import RouteReason
from tests.cluster.builders import Draw, replica, route_request


def picks(router: RoundRobin, names: str, times: int, rng=None) -> list[str]:
    replicas = [replica(name) for name in names]
    rng = rng or random.Random(0)
    return [router.choose(route_request(), replicas, rng).replica_id for _ in range(times)]


def test_turns_repeat_in_the_order_of_the_first_round():
    first, second = (lambda all_: (all_[:4], all_[4:]))(picks(RoundRobin(), "abcd", 8))
    assert sorted(first) == ["a", "b", "c", "d"]
    assert second == first


def test_the_reason_is_the_turn():
    decision = RoundRobin().choose(route_request(), [replica("a", 900), replica("b")], Draw(0))
    assert (decision.replica_id, decision.reason) == ("a", RouteReason.TURN)
    assert decision.outstanding_tokens == 900


def test_a_new_one_is_next_and_then_waits_like_the_others():
    router = RoundRobin()
    picks(router, "abc", 7)
    (new, *others) = picks(router, "abcd", 5)
    assert new == "d"
    assert Counter(others) == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_the_turns_of_the_others_do_not_shift_when_one_leaves():
    router = RoundRobin()
    order = picks(router, "abcd", 4)
    rest = "".join(name for name in order if name != order[1])
    assert picks(router, rest, 3) == list(rest)


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), max_size=6), st.integers(1, 4))
def test_whatever_came_before_everyone_has_one_turn_a_round(sets, rounds):
    router = RoundRobin()
    for present in sets:
        picks(router, "".join(sorted(present)), len(present) // 2 + 1)
    assert set(Counter(picks(router, "abcd", 4 * rounds)).values()) == {rounds}
