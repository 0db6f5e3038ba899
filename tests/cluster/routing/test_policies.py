"""What holds for every routing policy."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing import Router
from cluster.routing.policies import POLICIES, UnknownPolicy, router
from cluster.types import ReplicaSnapshot, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica, route_request
from tests.cluster.routing_cases import distribution, fleets, requests

every_policy = pytest.mark.parametrize("name", POLICIES)
histories = st.lists(st.tuples(requests, fleets(most=4), st.integers(0, 23)), max_size=5)


def with_past(name: str, history: list[tuple[RouteRequest, list[ReplicaSnapshot], int]]) -> Router:
    asked = router(name)
    for request, replicas, draw in history:
        asked.choose(request, replicas, Draw(draw))
    return asked


@every_policy
@settings(max_examples=40, deadline=None)
@given(history=histories, request=requests, replicas=fleets(), draw=st.integers(0, 119))
def test_the_pick_is_a_candidate_and_the_decision_is_whole(name, history, request, replicas, draw):
    decision = with_past(name, history).choose(request, replicas, Draw(draw))
    (picked,) = [each for each in replicas if each.id == decision.replica_id]
    assert decision.outstanding_tokens == picked.outstanding_tokens
    assert decision.candidates == len(replicas)
    assert (decision.reason is RouteReason.ONLY) == (len(replicas) == 1)
    if decision.costs:
        assert [cost.replica_id for cost in decision.costs] == [each.id for each in replicas]


@every_policy
@settings(max_examples=25, deadline=None)
@given(history=histories, request=requests, replicas=fleets(most=4), data=st.data())
def test_the_order_of_candidates_changes_no_chances(name, history, request, replicas, data):
    asked = with_past(name, history)
    permuted = data.draw(st.permutations(replicas))
    assert distribution(asked, request, permuted) == distribution(asked, request, replicas)


@every_policy
def test_equal_replicas_are_picked_equally_often_by_many_new_gateways(name):
    replicas = [replica("a"), replica("b"), replica("c")]
    assert distribution(router(name), route_request(), replicas) == {"a": 2, "b": 2, "c": 2}


@every_policy
@settings(max_examples=15, deadline=None)
@given(history=histories, request=requests, replicas=fleets(), draw=st.integers(0, 119))
def test_asking_a_copy_leaves_no_trace(name, history, request, replicas, draw):
    asked = with_past(name, history)
    first = copy.deepcopy(asked).choose(request, replicas, Draw(draw))
    assert asked.choose(request, replicas, Draw(draw)) == first


@every_policy
def test_replicas_that_come_and_go_for_long_are_forgotten(name):
    """No container of a policy grows with the number of replicas there ever were."""
    asked = router(name)
    rng = random.Random(0)
    for generation in range(100):
        replicas = [replica(f"r{generation}-{index}") for index in range(3)]
        for _ in range(3):
            asked.choose(
                RouteRequest(prompt_tokens=64, max_output_tokens=1, blocks=(1, 2)), replicas, rng
            )
    assert total_size(asked) < 60


def total_size(value: object) -> int:
    """How many entries all containers in `value` have, however deep."""
    if isinstance(value, dict):
        return len(value) + sum(map(total_size, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) + sum(map(total_size, value))
    return sum(map(total_size, vars(value).values())) if hasattr(value, "__dict__") else 0


def test_an_unknown_name_is_named_with_the_choices():
    with pytest.raises(UnknownPolicy) as caught:
        router("fastest")
    assert str(caught.value).startswith("'fastest' is no routing policy: not one of predicted_")
    assert str(caught.value).endswith("session_affinity, prefix_affinity")


def test_each_router_is_a_new_one():
    assert router("round_robin") is not router("round_robin")
