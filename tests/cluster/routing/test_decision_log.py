"""Lines of the decision log: they read back the same, say what is wrong, and can be replayed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.decision_log import (
    DecisionLogError,
    DecisionRecord,
    dumps,
    loads,
    record,
    replay,
)
from cluster.routing.policies import POLICIES, router
from cluster.types import BlockHash, ReplicaSnapshot, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica, route_request
from tests.cluster.routing_cases import GPU, fleets, requests

LOADS = [[4, 9], [3, 2], [7, 1], [5, 5], [0, 0]]


def logged(
    policy: str, request: RouteRequest, replicas: list[ReplicaSnapshot], draw: int = 0
) -> DecisionRecord:
    decision = router(policy).choose(request, replicas, Draw(draw))
    return record(policy, request, replicas, decision, at_unix_s=1.7e9)


def two(loads: list[int]) -> list[ReplicaSnapshot]:
    return [replica("a", loads[0]), replica("b", loads[1])]


@settings(deadline=None)
@given(st.sampled_from(sorted(POLICIES)), requests, fleets(), st.integers(0, 119))
def test_a_line_reads_back_the_same(policy, request, replicas, draw):
    written = logged(policy, request, replicas, draw)
    line = dumps(written)
    assert "\n" not in line
    assert loads(line) == written


def test_it_holds_the_session_s_hash_and_not_its_name():
    request = RouteRequest(prompt_tokens=1, max_output_tokens=1, affinity_key="ann@example.org")
    line = dumps(logged("session_affinity", request, two([0, 0])))
    assert "ann" not in line
    assert json.loads(line)["request"]["affinity_key"].startswith("#")


def test_names_of_blocks_keep_all_their_bits():
    name = BlockHash(2**64 - 1)
    request = RouteRequest(prompt_tokens=16, max_output_tokens=1, blocks=[name])
    assert loads(dumps(logged("random", request, two([0, 0])))).request.blocks == (name,)


def change(path: list[str | int], value: Any) -> str:
    """A good line with one value replaced, or taken out if it is None."""
    data = json.loads(
        dumps(logged("predicted_cost", route_request(), [replica("a", step_cost=GPU)]))
    )  # type: ignore[arg-type]
    *above, last = path
    target = data
    for part in above:
        target = target[part]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["version"], 2, "line 7, version: Input should be 1"),
        (["version"], None, "line 7, version: Field required"),
        (["when"], 1, "line 7, when: Unexpected keyword argument"),
        (
            ["request", "prompt_tokens"],
            "9",
            "line 7, request.prompt_tokens: Input should be a valid integer",
        ),
        (["replicas", 0, "id"], None, "line 7, replicas[0].id: Field required"),
        (
            ["replicas", 0, "step_cost", "base_s"],
            "x",
            "line 7, replicas[0].step_cost.base_s: Input should be a valid number",
        ),
        (["replicas", 0, "kv"], 1, "line 7, replicas[0].kv: Unexpected keyword argument"),
        (["decision", "reason"], "luck", "line 7, decision.reason: Input should be 'only', "),
        (["decision", "replica_id"], "z", "line 7, decision.replica_id: 'z' is none of the"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_field(path, value, message):
    with pytest.raises(DecisionLogError) as caught:
        loads(change(path, value), number=7)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("line", ["", "{", "null", "[1]"])
def test_a_line_that_is_no_object_is_named(line):
    with pytest.raises(DecisionLogError, match=r"^line 3: "):
        loads(line, number=3)


def test_the_same_policy_agrees_with_itself():
    records = [logged("least_load", route_request(), two(each)) for each in LOADS]
    report = replay(records, router("least_load"), random.Random(0))
    assert (report.decisions, report.differences, report.agreement_frac) == (5, (), 1.0)
    assert report.agreed >= 3


def test_ties_that_fall_differently_are_counted_by_themselves():
    records = [logged("least_load", route_request(), two([0, 0]), draw) for draw in range(4)]
    report = replay(records, router("least_load"), Draw(0))
    assert (report.agreed, report.by_chance, report.differences) == (2, 2, ())


def test_another_policy_differs_where_it_does_and_says_by_how_much():
    replicas = [replica("a", 9, step_cost=GPU), replica("b", 1, waiting_requests=9, step_cost=GPU)]  # type: ignore[arg-type]
    report = replay(
        [logged("least_load", route_request(), replicas)], router("predicted_cost"), Draw(0)
    )
    (difference,) = report.differences
    assert (difference.logged, difference.replayed) == ("b", "a")
    assert difference.logged_reason is RouteReason.LEAST_LOADED
    assert difference.extra_cost_s is not None
    assert difference.extra_cost_s < 0.0
    assert report.agreement_frac == 0.0


def test_a_session_is_replayed_to_where_it_went():
    replicas = [replica(name) for name in "abcdefgh"]
    records = [
        logged(
            "session_affinity",
            RouteRequest(prompt_tokens=1, max_output_tokens=1, affinity_key=f"session {number}"),
            replicas,
        )
        for number in range(50)
    ]
    report = replay(map(loads, map(dumps, records)), router("session_affinity"), Draw(0))
    assert report.agreed == 50


def test_an_empty_log_agrees():
    assert replay([], router("random"), Draw(0)).agreement_frac == 1.0
