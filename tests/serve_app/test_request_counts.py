"""What the switch counts for the scaler, request by request; and the same as signals."""

from __future__ import annotations

from dataclasses import asdict

from vllm.v1.engine import FinishReason

from cluster.failover import FailoverLimits, LossCause
from cluster.scaling.limits import Slo
from cluster.scaling.request_counts import RequestCounts
from cluster.types import ReplicaId
from tests.serve_app.builders import make_core, output, pooling_request, ready, request, step

A, B = ReplicaId("a"), ReplicaId("b")
COUNTED = {name: 0 for name in asdict(RequestCounts(Slo())) if name != "slo"}


def counted(core) -> dict[str, float]:
    """What is not 0."""
    counts = asdict(core.counts)
    return {name: counts[name] for name in COUNTED if counts[name]}


def answer(core, recorder, at_s: float, *tokens: int, finish: FinishReason | None = None) -> None:
    engine, sent = recorder.added[-1]
    core.step(engine, step(output(sent.request_id, *tokens, finish=finish)), at_s)


def test_an_answer_in_time_is_counted_once():
    core, recorder = make_core("a")
    core.request(request("r", prompt=(1, 2, 3)), 10.0)
    assert counted(core) == {"requests": 1, "prompt_tokens": 3, "uncached_prompt_tokens": 3}
    answer(core, recorder, 11.5, 7)
    answer(core, recorder, 11.6, 8, 9, finish=FinishReason.STOP)
    assert counted(core) == {
        "requests": 1,
        "prompt_tokens": 3,
        "uncached_prompt_tokens": 3,
        "answered_requests": 1,
        "output_tokens": 3,
        "ttft_total": 1,
        "ttft_good": 1,
        "ttft_sum_s": 1.5,
        "tpot_total": 1,
        "tpot_good": 1,
    }


def test_what_comes_late_counts_as_late():
    core, recorder = make_core("a")
    core.request(request("r"), 0.0)
    answer(core, recorder, 2.1, 7)
    answer(core, recorder, 2.4, 8, 9, finish=FinishReason.STOP)
    counts = core.counts
    assert (counts.ttft_total, counts.ttft_good) == (1, 0)
    assert (counts.tpot_total, counts.tpot_good) == (1, 0)


def test_a_single_token_has_no_time_between_tokens():
    core, recorder = make_core("a")
    core.request(request("r"), 0.0)
    answer(core, recorder, 0.5, 7, finish=FinishReason.STOP)
    assert (core.counts.answered_requests, core.counts.tpot_total) == (1, 0)


def test_an_embedding_is_its_own_first_answer():
    core, recorder = make_core("a")
    core.request(pooling_request("r"), 0.0)
    answer(core, recorder, 0.5, finish=FinishReason.STOP)
    counts = core.counts
    assert (counts.ttft_good, counts.answered_requests, counts.output_tokens) == (1, 1, 0)


def test_a_held_request_has_arrived_and_waits_from_then_on():
    core, recorder = make_core()
    core.request(request("r"), 0.0)
    assert counted(core) == {"requests": 1, "prompt_tokens": 3}
    core.engine_joined(A, ready("a"), 5.0)
    answer(core, recorder, 5.5, 7)
    assert (core.counts.ttft_total, core.counts.ttft_good, core.counts.ttft_sum_s) == (1, 0, 5.5)


def test_a_moved_request_is_counted_once():
    core, recorder = make_core("a", "b")
    core.request(request("r"), 0.0)
    answer(core, recorder, 0.5, 7)
    core.engine_lost(recorder.added[-1][0], LossCause.DISCONNECTED, 0.6)
    answer(core, recorder, 0.7, 8, finish=FinishReason.STOP)
    counts = core.counts
    assert (counts.requests, counts.ttft_total, counts.output_tokens) == (1, 1, 2)
    assert counts.uncached_prompt_tokens == 3


def test_an_abort_is_an_end_where_the_answer_had_begun():
    core, recorder = make_core("a")
    core.request(request("r"), 0.0)
    answer(core, recorder, 0.5, 7, 8)
    core.abort(["r"], 0.6)
    core.abort(["r"], 0.7)
    assert (core.counts.answered_requests, core.counts.output_tokens) == (1, 2)


def test_a_client_that_leaves_before_a_token_is_no_miss():
    core, _ = make_core("a")
    core.request(request("r"), 0.0)
    core.abort(["r"], 9.0)
    assert (core.counts.ttft_total, core.counts.answered_requests) == (0, 0)


def test_a_request_that_fails_without_a_token_is_a_miss():
    core, _ = make_core(limits=FailoverLimits(hold_timeout_s=1.0))
    core.request(request("r"), 0.0)
    core.tick(1.0)
    assert (core.counts.ttft_total, core.counts.ttft_good, core.counts.answered_requests) == (
        1,
        0,
        0,
    )


def test_the_scaler_is_told_all_of_it_under_the_same_names():
    counts = RequestCounts(Slo())
    for number, name in enumerate(COUNTED, start=1):
        setattr(counts, name, number)
    signals = counts.signals("g", held_requests=99)
    assert (signals.id, signals.held_requests) == ("g", 99)
    assert {name: getattr(signals, name) for name in COUNTED} == {
        name: number for number, name in enumerate(COUNTED, start=1)
    }
