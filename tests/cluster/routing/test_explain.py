"""Decisions in words: each reason has a sentence, and the numbers are the ones that decided."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.explain import SENTENCES, explain, would_choose
from cluster.routing.policies import POLICIES, router
from cluster.types import ReplicaId, RouteDecision, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica, route_request
from tests.cluster.routing_cases import GPU, fleets, requests

REQUEST = RouteRequest(prompt_tokens=4000, max_output_tokens=100, affinity_key="ann")


def known(name: str, outstanding_tokens: int = 0, **loads: float):
    return replica(name, outstanding_tokens, step_cost=GPU, **loads)  # type: ignore[arg-type]


def test_every_reason_has_a_sentence():
    assert set(SENTENCES) == set(RouteReason)


@pytest.mark.parametrize(
    ("policy", "replicas", "sentence"),
    [
        ("random", [known("a")], "a is the only replica that may take the request."),
        (
            "least_load",
            [known("a", 7), known("b", 3)],
            "b has the fewest of those compared: 3 outstanding tokens of this gateway.",
        ),
        (
            "least_load",
            [known("a"), known("b")],
            "a is one of those with the fewest, 0 outstanding tokens of this gateway, drawn at "
            "random.",
        ),
        (
            "predicted_cost",
            [known("a", queued_prefill_tokens=2000), known("b")],
            "b has the least predicted cost: 2.479 s over all requests, the first token after "
            "0.459 s (a: 2.699 s).",
        ),
        (
            "predicted_cost",
            [known("a", cached_tokens=3000), known("b")],
            "a holds 3000 of the 4000 prompt tokens, which makes its predicted cost the least: "
            "2.150 s over all requests, the first token after 0.130 s (b: 2.479 s).",
        ),
        (
            "predicted_cost",
            [known("a", cached_tokens=3000, queued_prefill_tokens=6000), known("b")],
            "a holds 3000 of the 4000 prompt tokens, which makes its predicted cost the least, "
            "counting near ties and what the prompt displaces from caches: 2.808 s over all "
            "requests, the first token after 0.788 s (b: 2.479 s).",
        ),
        (
            "predicted_cost",
            [known("a"), known("b")],
            "a is one of those whose predicted cost counts as the least: 2.479 s over all "
            "requests, the first token after 0.459 s (b: 2.479 s).",
        ),
        ("round_robin", [known("a"), known("b")], "It is the turn of a, of 2 replicas."),
        ("random", [known("a"), known("b")], "a was drawn at random from 2 replicas."),
    ],
)
def test_the_sentence_says_who_why_and_by_what(policy, replicas, sentence):
    decision = router(policy).choose(REQUEST, replicas, Draw(0))
    assert explain(REQUEST, replicas, decision).sentence == sentence


def test_affinity_and_spilling_are_told_apart():
    idle = [replica("a"), replica("b")]
    home = router("session_affinity").choose(REQUEST, idle, Draw(0))
    assert "belongs to" in explain(REQUEST, idle, home).sentence
    full = [replica(each.id, inflight_requests=9 * (each.id == home.replica_id)) for each in idle]
    spilled = router("session_affinity").choose(REQUEST, full, Draw(0))
    assert "has too much to do; the next is" in explain(REQUEST, full, spilled).sentence


def test_a_spilled_prefix_is_said_to_be_one():
    asked = router("predicted_cost")
    for _ in range(50):
        asked.choose(REQUEST, [known("a"), known("b", waiting_requests=9)], Draw(0))
    replicas = [known("a", cached_tokens=3000), known("b")]
    decision = asked.choose(REQUEST, replicas, Draw(1))  # without credit for it a costs the same
    sentence = explain(REQUEST, replicas, decision).sentence
    assert sentence.startswith("A replica that holds more of the prompt was given more than its")
    assert "of the others, b costs the least" in sentence


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(POLICIES)), requests, fleets(), st.integers(0, 119))
def test_the_answer_is_json_with_every_engine_and_its_numbers(policy, request_, replicas, draw):
    decision = router(policy).choose(request_, replicas, Draw(draw))
    answer = json.loads(
        json.dumps(explain(request_, replicas, decision).as_json(), allow_nan=False)
    )
    assert answer["winner"] == decision.replica_id
    assert answer["reason"] == decision.reason
    assert decision.replica_id in answer["sentence"]
    assert [engine["replica_id"] for engine in answer["engines"]] == [each.id for each in replicas]
    assert [engine["cached_tokens"] for engine in answer["engines"]] == [
        each.cached_tokens for each in replicas
    ]
    predicted = [engine["predicted_cost_s"] for engine in answer["engines"]]
    assert predicted == [cost.cost_s for cost in decision.costs] or predicted == [None] * len(
        replicas
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_asking_what_would_be_chosen_changes_nothing(policy):
    asked = router(policy)
    replicas = [known("a"), known("b"), known("c")]
    for _ in range(4):
        asked.choose(REQUEST, replicas, Draw(1))
    untouched = copy.deepcopy(asked)
    would = would_choose(asked, REQUEST, replicas, Draw(2))
    assert would_choose(asked, REQUEST, replicas, Draw(2)) == would
    assert asked.choose(REQUEST, replicas, Draw(2)) == would
    assert untouched.choose(REQUEST, replicas, Draw(2)) == would


def test_a_decision_on_other_replicas_is_refused():
    decision = RouteDecision(
        replica_id=ReplicaId("z"), reason=RouteReason.ONLY, candidates=1, outstanding_tokens=0
    )
    with pytest.raises(KeyError, match="z"):
        explain(route_request(), [replica("a")], decision)
