"""A session stays where it is, moves only when it must, and never where there is too much to do."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.affinity_key import hashed
from cluster.routing.session_affinity import LOAD_BOUND, SessionAffinity
from cluster.types import ReplicaSnapshot, RouteDecision, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica

KEYS = [f"session-{number}" for number in range(600)]
names = st.lists(st.text("abcdef", min_size=1), min_size=2, max_size=6, unique=True)


def choose(key: str | None, replicas: list[ReplicaSnapshot]) -> RouteDecision:
    request = RouteRequest(prompt_tokens=10, max_output_tokens=10, affinity_key=key)
    return SessionAffinity().choose(request, replicas, Draw(0))


def homes(names: list[str]) -> dict[str, str]:
    return {key: choose(key, [replica(name) for name in names]).replica_id for key in KEYS}


def test_sessions_spread_evenly():
    """600 sessions on 4 replicas: 150 each; 5 standard deviations are 53."""
    counts = Counter(homes(["a", "b", "c", "d"]).values())
    assert all(abs(count - 150) < 53 for count in counts.values())
    assert len(counts) == 4


@settings(max_examples=10, deadline=None)
@given(names, st.data())
def test_only_the_sessions_of_one_that_leaves_move(names, data):
    leaver = data.draw(st.sampled_from(names))
    before = homes(names)
    after = homes([name for name in names if name != leaver])
    assert {key for key in KEYS if before[key] != after[key]} == {
        key for key in KEYS if before[key] == leaver
    }


def test_a_full_replica_is_passed_over_for_the_next_of_the_session():
    """The second choice of a session is where it would go if the first were not there."""
    idle = [replica(name) for name in "abcd"]
    first = choose("ann", idle)
    second = choose("ann", [each for each in idle if each.id != first.replica_id])
    full = [replica(each.id, inflight_requests=9 * (each.id == first.replica_id)) for each in idle]
    spilled = choose("ann", full)
    assert (first.reason, spilled.reason) == (RouteReason.AFFINITY, RouteReason.SPILLED)
    assert spilled.replica_id == second.replica_id


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.sampled_from(KEYS))
def test_none_gets_more_than_its_bounded_share(inflight, key):
    replicas = [replica(f"r{index}", inflight_requests=n) for index, n in enumerate(inflight)]
    picked = choose(key, replicas).replica_id
    had = inflight[[each.id for each in replicas].index(picked)]
    assert had + 1 <= ceil(LOAD_BOUND * (sum(inflight) + 1) / len(inflight))


def test_without_a_session_the_least_loaded_is_picked():
    decision = choose(None, [replica("a", 5), replica("b", 4)])
    assert (decision.replica_id, decision.reason) == ("b", RouteReason.LEAST_LOADED)


@settings(deadline=None)
@given(st.text())
def test_a_key_and_its_hash_go_to_the_same(key):
    replicas = [replica(name) for name in "abcdefgh"]
    assert hashed(hashed(key)) == hashed(key)
    assert choose(key, replicas) == choose(hashed(key), replicas)
