"""How a switch routes: what the router is told of caches and loads, and when it is asked at all."""

from __future__ import annotations

import logging

import msgspec
import pytest
from vllm.v1.engine import FinishReason

from cluster.failover import FailoverLimits, FailReason, LossCause
from cluster.routing.kv_stream import KvChanges, KvSnapshot
from cluster.routing.predicted_cost import PredictedCost
from cluster.routing.round_robin import RoundRobin
from cluster.types import ReplicaId, RouteReason, StepCost
from serve_app import resume
from serve_app.prompt_blocks import prompt_blocks
from serve_app.wire import Load, WireError
from tests.serve_app.builders import make_core, output, ready, request, step

A, B, C = ReplicaId("a"), ReplicaId("b"), ReplicaId("c")
BLOCK_TOKENS = ready("a").block_tokens
PROMPT = tuple(range(3 * BLOCK_TOKENS + 1))
BLOCKS = tuple(prompt_blocks(request(prompt=PROMPT), BLOCK_TOKENS))
COST = (0.01, 1e-3, 1e-4)


def asked(request_id: str = "r", **sampling: object):
    return request(request_id, prompt=PROMPT, **sampling)


def seen(core, engine_id):
    """What the router is told of an engine for this prompt."""
    size = resume.route_request(asked("explained"), BLOCK_TOKENS)
    (snapshot,) = core.view.snapshots(size, [engine_id])
    return snapshot


def cached_tokens(core, engine_id) -> int:
    return seen(core, engine_id).cached_tokens


# What engines hold


def test_a_snapshot_and_the_batches_after_it_are_what_an_engine_holds():
    core, recorder = make_core("a", "b")
    core.cache(A, KvSnapshot(sequence=4, blocks=BLOCKS[:1]))
    core.cache(A, KvChanges(sequence=5, stored=BLOCKS[1:]))
    assert (cached_tokens(core, A), cached_tokens(core, B)) == (3 * BLOCK_TOKENS, 0)
    core.cache(A, KvChanges(sequence=6, removed=BLOCKS[1:2]))
    assert cached_tokens(core, A) == BLOCK_TOKENS
    core.cache(A, KvChanges(sequence=7, cleared=True))
    assert cached_tokens(core, A) == 0
    assert recorder.caches_asked == []


def test_a_batch_before_any_snapshot_is_asked_for_once():
    core, recorder = make_core("a")
    for sequence in (1, 2, 3):
        core.cache(A, KvChanges(sequence=sequence, stored=BLOCKS[:1]))
    assert recorder.caches_asked == [A]
    assert cached_tokens(core, A) == 0
    core.cache(A, KvSnapshot(sequence=3, blocks=BLOCKS))
    assert cached_tokens(core, A) == 3 * BLOCK_TOKENS


def test_a_snapshot_that_is_older_than_a_batch_is_asked_for_again():
    core, recorder = make_core("a")
    core.cache(A, KvSnapshot(sequence=1))
    core.cache(A, KvChanges(sequence=5))
    core.cache(A, KvSnapshot(sequence=3, blocks=BLOCKS))
    assert recorder.caches_asked == [A, A]
    assert cached_tokens(core, A) == 0


def test_a_lost_engine_s_cache_is_forgotten_and_what_it_says_late_ignored():
    core, recorder = make_core("a", "b")
    core.cache(A, KvSnapshot(sequence=4, blocks=BLOCKS))
    core.engine_lost(A, LossCause.DISCONNECTED, 1.0)
    core.cache(A, KvChanges(sequence=5, stored=BLOCKS))
    core.cache(A, KvSnapshot(sequence=5, blocks=BLOCKS))
    core.load(A, Load(1, 1, 1.0, 1), 0.0)
    core.engine_joined(A, ready("a"), 2.0)
    assert cached_tokens(core, A) == 0
    assert core.view.index.lookup(BLOCKS) == {}
    assert recorder.caches_asked == []


def test_a_request_counts_as_held_while_it_waits_and_then_as_the_engine_says():
    core, recorder = make_core("a")
    core.cache(A, KvSnapshot(sequence=0))
    core.request(asked(), 0.0)
    assert cached_tokens(core, A) == 3 * BLOCK_TOKENS
    core.step(A, step(output(recorder.last_added.request_id, 7)), 1.0)
    assert cached_tokens(core, A) == 0  # its events, which come first, did not say so


# What engines have to do


def test_a_report_is_what_the_router_sees_and_what_it_does_not_know_yet_on_top():
    core, _ = make_core("a")
    for token in (1, 2, 3):
        core.request(request(f"r{token}", prompt=(token,) * 100), 0.0)
    core.load(
        A,
        Load(
            running_requests=4,
            waiting_requests=1,
            kv_use_frac=0.5,
            steps=9,
            received=2,
            decode_requests=3,
            queued_prefill_tokens=70,
            step_cost=COST,
        ),
        0.0,
    )
    found = seen(core, A)
    assert (found.running_requests, found.waiting_requests, found.decode_requests) == (4, 2, 3)
    assert found.queued_prefill_tokens == 70 + 100
    assert found.step_cost == StepCost(
        base_s=COST[0], prefill_token_s=COST[1], decode_request_s=COST[2]
    )
    assert found.inflight_requests == 3
    core.load(A, Load(4, 1, 0.5, 9, received=3), 0.0)
    assert seen(core, A).waiting_requests == 1


def test_what_could_not_be_sent_is_not_awaited_in_the_reports():
    core, recorder = make_core("a")
    add = recorder.add

    def refuse(engine_id, sent):
        raise WireError("too large")

    recorder.add = refuse
    for name in ("x1", "x2"):
        core.request(asked(name), 0.0)
    assert core.failures["external-x1"].reason is FailReason.TOO_LARGE
    recorder.add = add
    core.request(request("r", prompt=(1,) * 100), 0.0)
    core.load(A, Load(1, 0, 0.0, 1, received=1, queued_prefill_tokens=100), 0.0)
    assert seen(core, A).queued_prefill_tokens == 100  # not counted twice
    assert core.flights.keys() == {"r"}


def test_a_piece_of_input_that_cannot_be_sent_ends_its_request(caplog):
    core, recorder = make_core("a")
    core.request(msgspec.structs.replace(asked(), resumable=True), 0.0)
    attempt_id = recorder.last_added.request_id

    def refuse(engine_id, sent):
        raise WireError("too large")

    recorder.add = refuse
    with caplog.at_level(logging.ERROR, "tokenfleet.switch"):
        core.request(asked(), 1.0)
    assert recorder.passed[-1].finish_reason is FinishReason.ERROR
    assert recorder.aborted == [(A, attempt_id)]
    assert core.flights == {}


def test_a_piece_of_input_goes_where_the_rest_is_and_is_no_new_request():
    core, recorder = make_core("a", "b")
    core.request(msgspec.structs.replace(asked(), resumable=True), 0.0)
    ((engine_id, first),) = recorder.added
    core.request(asked(), 1.0)
    assert [(engine_id, each.request_id) for each in (first, recorder.last_added)] == [
        (at, sent.request_id) for at, sent in recorder.added
    ]
    assert seen(core, engine_id).inflight_requests == 1


# Which engine is chosen


def test_prompts_that_share_blocks_go_where_they_are_held():
    core, recorder = make_core("a", "b", "c", router=PredictedCost())
    for engine_id in core.engines:
        core.load(engine_id, Load(0, 0, 0.0, 0, step_cost=COST), 0.0)
        core.cache(engine_id, KvSnapshot(sequence=0, blocks=BLOCKS if engine_id == B else ()))
    core.request(asked(), 0.0)
    assert recorder.added[-1][0] == B
    core.request(request("other", prompt=(7,) * len(PROMPT)), 0.0)
    assert recorder.added[-1][0] != B


def test_every_decision_is_told_with_what_it_was_made_on():
    told = []
    core, recorder = make_core(
        "a", "b", on_decision=lambda size, found, decision: told.append((size, found, decision))
    )
    core.request(asked(), 0.0)
    ((size, found, decision),) = told
    assert tuple(size.blocks) == BLOCKS
    assert [snapshot.id for snapshot in found] == [A, B]
    assert decision.replica_id == recorder.added[-1][0]


# Explaining


def test_an_explanation_is_of_what_is_then_done():
    core, recorder = make_core("a", "b", "c")
    for index in range(20):
        name = f"r{index}"
        explained = [core.explain(asked(name)) for _ in range(3)]
        assert explained == explained[:1] * 3
        core.request(asked(name), 0.0)
        assert recorder.added[-1][0] == explained[0].winner


def test_a_policy_with_a_memory_does_not_notice_that_it_was_asked():
    core, recorder = make_core("a", "b", router=RoundRobin())
    for index in range(4):
        assert core.explain(asked()).reason is RouteReason.TURN
        core.request(asked(f"r{index}"), 0.0)
    turns = [engine_id for engine_id, _ in recorder.added]
    assert turns[0] != turns[1]
    assert turns[:2] == turns[2:]


def test_an_explanation_leaves_no_trace():
    told = []
    core, recorder = make_core("a", on_decision=lambda *decision: told.append(decision))
    core.cache(A, KvSnapshot(sequence=1, blocks=BLOCKS[:2]))
    explained = core.explain(asked(max_tokens=9))
    assert (explained.prompt_tokens, explained.max_output_tokens) == (len(PROMPT), 9)
    assert [engine.cached_tokens for engine in explained.engines] == [2 * BLOCK_TOKENS]
    assert (recorder.added, core.flights, core.held, told) == ([], {}, {}, [])
    assert cached_tokens(core, A) == 2 * BLOCK_TOKENS


def test_only_engines_that_take_requests_are_explained():
    core, _ = make_core("a", "b")
    core.engine_leaving(A, True, 1.0)
    assert [engine.replica_id for engine in core.explain(asked()).engines] == [B]
    core.engine_leaving(B, True, 1.0)
    assert core.explain(asked()) is None
    assert make_core()[0].explain(asked()) is None


# Hedging


def hedging(**more):
    """One request that waits on a; b joined after it. What the router was asked is counted."""
    told = []
    core, recorder = make_core(
        "a",
        limits=FailoverLimits(hedge_after_s=5.0),
        on_decision=lambda *decision: told.append(decision),
        **more,
    )
    core.request(asked(), 0.0)
    core.engine_joined(B, ready("b"), 1.0)
    return core, recorder, told


def test_a_request_moves_by_one_decision_among_the_less_busy():
    core, recorder, told = hedging()
    core.engine_joined(C, ready("c"), 1.0)
    core.cache(B, KvSnapshot(sequence=1, blocks=BLOCKS))
    core.view.sent(C, "of another", resume.route_request(request("other"), BLOCK_TOKENS), 0)
    for tenths in range(60):
        core.tick(tenths / 10)
    assert recorder.added[-1][0] == B
    _, (_, seen_then, _) = told
    assert [snapshot.id for snapshot in seen_then] == [B]
    assert seen_then[0].cached_tokens == 3 * BLOCK_TOKENS


@pytest.mark.parametrize("policy", [RoundRobin, PredictedCost])
def test_while_a_request_stays_the_router_is_not_asked(policy):
    core, recorder, told = hedging(router=policy())
    core.view.sent(B, "of another", resume.route_request(request("other"), BLOCK_TOKENS), 0)
    for second in range(100):
        core.tick(float(second))
    assert len(told) == len(recorder.added) == 1
    core.view.ended("of another")
    core.tick(100.0)
    assert len(told) == len(recorder.added) == 2
