"""Fewest outstanding tokens: who is picked, and that ties are spread evenly."""

from __future__ import annotations

from collections import Counter
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routing.least_load import LeastOutstandingTokens
from cluster.types import ReplicaId, ReplicaSnapshot, RouteReason
from tests.cluster.builders import Draw, replica, route_request

ROUTER = LeastOutstandingTokens()


def choose(replicas: list[ReplicaSnapshot], draw: int = 0):
    return ROUTER.choose(route_request(), replicas, Draw(draw))


def distribution(replicas: list[ReplicaSnapshot]) -> Counter[ReplicaId]:
    """How often each replica is picked over every draw that can happen."""
    draws = factorial(len(replicas))  # a multiple of every possible number of ties
    return Counter(choose(replicas, draw).replica_id for draw in range(draws))


@pytest.mark.parametrize(
    ("replicas", "picked", "reason"),
    [
        pytest.param([replica("a", 900)], "a", RouteReason.ONLY, id="the only one, however busy"),
        pytest.param(
            [replica("a", 5), replica("b", 4), replica("c", 6)],
            "b",
            RouteReason.LEAST_LOADED,
            id="the one with the fewest tokens",
        ),
        pytest.param(
            [replica("a", 30_000, inflight_requests=1), replica("b", 500, inflight_requests=10)],
            "b",
            RouteReason.LEAST_LOADED,
            id="ten short requests weigh less than one long prompt",
        ),
        pytest.param(
            [replica("a", 0, running_requests=50, kv_use_frac=0.9), replica("b", 1)],
            "a",
            RouteReason.LEAST_LOADED,
            id="the engine's own report does not count here",
        ),
        pytest.param(
            [replica("a", 9), replica("b", 3), replica("c", 3)],
            "b",
            RouteReason.TIE,
            id="a tie among the least loaded",
        ),
    ],
)
def test_the_pick_and_its_reason(replicas, picked, reason):
    decision = choose(replicas)
    assert (decision.replica_id, decision.reason) == (picked, reason)
    assert decision.candidates == len(replicas)
    assert decision.outstanding_tokens == min(r.outstanding_tokens for r in replicas)


def test_two_idle_replicas_share_evenly():
    assert distribution([replica("a"), replica("b"), replica("c", 1)]) == {"a": 3, "b": 3}


loads = st.lists(st.integers(0, 4), min_size=1, max_size=5)  # few values: ties are common


def named(tokens: list[int]) -> list[ReplicaSnapshot]:
    return [replica(f"r{index}", load) for index, load in enumerate(tokens)]


@given(loads, st.integers(0, 1000))
def test_the_pick_is_a_candidate_with_the_minimum(tokens, draw):
    replicas = named(tokens)
    decision = choose(replicas, draw)
    (picked,) = [r for r in replicas if r.id == decision.replica_id]
    assert picked.outstanding_tokens == min(tokens)


@given(loads)
def test_every_minimum_is_picked_equally_often_and_nothing_else_is(tokens):
    """The oracle: sort, take the leaders."""
    ranked = sorted(named(tokens), key=lambda r: r.outstanding_tokens)
    leaders = [r.id for r in ranked if r.outstanding_tokens == ranked[0].outstanding_tokens]
    share = factorial(len(tokens)) // len(leaders)
    assert distribution(named(tokens)) == dict.fromkeys(leaders, share)


@given(loads, st.data())
def test_the_order_of_candidates_does_not_matter(tokens, data):
    replicas = named(tokens)
    permuted = data.draw(st.permutations(replicas))
    assert distribution(permuted) == distribution(replicas)


@given(loads)
def test_the_reason_says_how_many_were_tied(tokens):
    reason = choose(named(tokens)).reason
    tied = tokens.count(min(tokens))
    assert (reason is RouteReason.ONLY) == (len(tokens) == 1)
    assert (reason is RouteReason.TIE) == (len(tokens) > 1 and tied > 1)
