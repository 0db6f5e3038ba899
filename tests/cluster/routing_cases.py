"""What the tests of the routing policies share: the chances of a pick, and cases to draw."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from math import factorial

from hypothesis import strategies as st

from cluster.routing import Router
from cluster.types import (
    BlockHash,
    ReplicaId,
    ReplicaSnapshot,
    RouteRequest,
    StepCost,
)
from tests.cluster.builders import Draw, replica

GPU = StepCost(base_s=0.02, prefill_token_s=1e-4, decode_request_s=2e-4)
SLOW_GPU = StepCost(base_s=0.05, prefill_token_s=4e-4, decode_request_s=5e-4)


def distribution(
    router: Router, request: RouteRequest, replicas: Sequence[ReplicaSnapshot]
) -> Counter[ReplicaId]:
    """How often each is picked over every draw that can happen; `router` itself is not asked.

    n! draws are a multiple of every number of ties, and of all ordered pairs.
    """
    draws = range(factorial(len(replicas)))
    decisions = (copy.deepcopy(router).choose(request, replicas, Draw(draw)) for draw in draws)
    return Counter(decision.replica_id for decision in decisions)


few = st.integers(0, 3)  # few values: ties are common

snapshots = st.builds(
    replica,
    st.just("r"),
    outstanding_tokens=few.map(lambda n: n * 400),
    inflight_requests=few,
    running_requests=few.map(lambda n: n * 8),
    waiting_requests=few,
    decode_requests=few.map(lambda n: n * 4),
    queued_prefill_tokens=few.map(lambda n: n * 1500),
    kv_use_frac=st.sampled_from([0.0, 0.5, 0.98]),
    kv_total_tokens=st.sampled_from([0, 20_000]),
    cached_tokens=few.map(lambda n: n * 256),
    step_cost=st.sampled_from([None, GPU, GPU, SLOW_GPU]),
)


@st.composite
def fleets(draw: st.DrawFn, most: int = 5) -> list[ReplicaSnapshot]:
    """Some replicas, with names of their own."""
    loads = draw(st.lists(snapshots, min_size=1, max_size=most))
    return [
        replica(f"r{index}", **{name: getattr(load, name) for name in LOADS})
        for index, load in enumerate(loads)
    ]


LOADS = [name for name in ReplicaSnapshot.__slots__ if name != "id"]

requests = st.builds(
    RouteRequest,
    prompt_tokens=st.sampled_from([1, 100, 900, 5000]),
    max_output_tokens=st.sampled_from([1, 50, 500]),
    blocks=st.lists(st.integers(1, 6).map(BlockHash), max_size=4, unique=True).map(tuple),
    affinity_key=st.sampled_from([None, "ann", "bob"]),
)
