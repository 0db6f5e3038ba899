"""Two at random, the one with less to do."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.power_of_two import PowerOfTwo
from cluster.types import RouteReason
from tests.cluster.builders import Draw, replica, route_request
from tests.cluster.routing_cases import distribution


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=5))
def test_the_chances_are_those_over_all_ordered_pairs(tokens):
    """The oracle: count the pairs."""
    replicas = [replica(f"r{index}", load) for index, load in enumerate(tokens)]
    pairs = list(permutations(replicas, 2))
    found = distribution(PowerOfTwo(), route_request(), replicas)
    for each in replicas:
        won = sum(min(pair, key=lambda r: r.outstanding_tokens).id == each.id for pair in pairs)
        assert found[each.id] * len(pairs) == won * found.total()


def test_the_reason_tells_a_tie_from_less_load():
    replicas = [replica("a", 1), replica("b", 1), replica("c", 0)]
    reasons = {
        PowerOfTwo().choose(route_request(), replicas, Draw(draw)).reason for draw in range(6)
    }
    assert reasons == {RouteReason.TIE, RouteReason.LEAST_LOADED}


def test_the_most_loaded_of_several_is_never_picked():
    replicas = [replica("a", 3), replica("b", 2), replica("c", 1)]
    assert distribution(PowerOfTwo(), route_request(), replicas) == {"b": 2, "c": 4}
