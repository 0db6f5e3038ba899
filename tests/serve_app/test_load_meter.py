"""What a host reports of its engine's load, from what goes in and what comes out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vllm.v1.engine import EngineCoreOutput, FinishReason
from vllm.v1.metrics.stats import SchedulerIterationDetails, SchedulerStats

from cluster.routing.step_cost import MIN_STEPS
from serve_app.load_meter import LoadMeter
from serve_app.wire import Load
from tests.serve_app.builders import output

NOW_S = 100.0


def stats(prefill_tokens: int = 0, decodes: int = 0, **more: object) -> SchedulerStats:
    details = SchedulerIterationDetails(
        iteration_index=0,
        num_ctx_requests=int(prefill_tokens > 0),
        num_ctx_tokens=prefill_tokens,
        num_generation_requests=decodes,
        num_generation_tokens=decodes,
        elapsed_ms=0.01,  # as of a core that computes the steps itself
        is_dummy=more.pop("is_dummy", False),
    )
    return SchedulerStats(iteration_details=details, **more)


def load(meter: LoadMeter) -> Load:
    return meter.load(received=0, bad_messages=0)


def queued(meter: LoadMeter) -> int:
    return load(meter).queued_prefill_tokens


def test_an_idle_engine_reports_zeros_whatever_its_core_said_last():
    meter = LoadMeter()
    meter.added("r", 100, NOW_S)
    meter.step(stats(100, num_running_reqs=1, num_waiting_reqs=2, kv_cache_usage=0.5), NOW_S)
    meter.count_step()
    assert load(meter) == Load(1, 2, 0.5, 1, queued_prefill_tokens=0)
    meter.gone("r")
    assert load(meter) == Load(0, 0, 0.0, 1)


def test_requests_that_vllm_skipped_wait_too():
    meter = LoadMeter()
    meter.added("r", 1, NOW_S)
    meter.step(stats(num_waiting_reqs=2, num_skipped_waiting_reqs=3), NOW_S)
    assert load(meter).waiting_requests == 5


def test_queued_tokens_go_down_as_steps_compute_them():
    meter = LoadMeter()
    meter.added("a", 1000, NOW_S)
    meter.added("b", 500, NOW_S)
    assert queued(meter) == 1500
    meter.step(stats(600), NOW_S)
    assert queued(meter) == 900
    meter.step(stats(400), NOW_S)
    meter.output(output("a", 7))
    assert queued(meter) == 500
    assert load(meter).decode_requests == 1
    meter.step(stats(500, 1), NOW_S)
    meter.output(output("b", 7))
    assert (queued(meter), load(meter).decode_requests) == (0, 2)


def test_tokens_computed_again_for_what_decodes_are_held_against_nothing_queued_later():
    meter = LoadMeter()
    meter.added("a", 100, NOW_S)
    meter.step(stats(100), NOW_S)
    meter.output(output("a", 7))
    meter.step(stats(100), NOW_S)  # preempted, and computed again
    meter.added("b", 300, NOW_S)
    assert queued(meter) == 300


def test_a_dummy_step_computes_nothing():
    meter = LoadMeter()
    meter.added("a", 100, NOW_S)
    meter.step(stats(60, is_dummy=True), NOW_S)
    assert queued(meter) == 100


def test_an_output_without_tokens_is_not_the_end_of_a_prefill():
    meter = LoadMeter()
    meter.added("a", 100, NOW_S)
    meter.output(output("a"))
    assert (queued(meter), load(meter).decode_requests) == (100, 0)


def test_a_pooling_request_ends_without_a_token():
    meter = LoadMeter()
    meter.added("a", 100, NOW_S)
    meter.output(
        EngineCoreOutput(
            request_id="a",
            new_token_ids=[],
            pooling_output=torch.zeros(2),
            finish_reason=FinishReason.STOP,
        )
    )
    assert load(meter) == Load(0, 0, 0.0, 0)


def test_a_piece_of_input_is_prefilled_on_top_and_the_request_does_not_decode_meanwhile():
    meter = LoadMeter()
    meter.added("a", 100, NOW_S)
    meter.added("a", 30, NOW_S)
    assert queued(meter) == 130
    meter.output(output("a", 7))
    meter.added("a", 20, NOW_S)
    assert (queued(meter), load(meter).decode_requests) == (20, 0)
    meter.gone("a")
    assert queued(meter) == 0


def took_s(prefill_tokens: int, decodes: int) -> float:
    return 5e-3 + 1e-5 * prefill_tokens + 1e-4 * decodes


def test_the_step_cost_is_learnt_from_how_long_after_each_other_steps_come():
    meter, now_s = LoadMeter(), NOW_S
    meter.added("a", 10**6, now_s)
    for index in range(MIN_STEPS):
        assert load(meter).step_cost is None
        prefill = 512 * (index % 2)
        now_s += took_s(prefill, 10)
        meter.step(stats(prefill, 10), now_s)
    base_s, prefill_token_s, decode_request_s = load(meter).step_cost
    assert prefill_token_s == pytest.approx(1e-5, rel=0.02)
    assert base_s + 10 * decode_request_s == pytest.approx(6e-3, rel=0.02)


def test_the_time_in_which_nothing_runs_is_no_part_of_a_step():
    meter, now_s = LoadMeter(), NOW_S
    for _ in range(MIN_STEPS):
        now_s += 3600.0
        meter.added("a", 512, now_s)
        meter.added("b", 512, now_s + 1e-3)  # joins a step that runs, or the next
        for prefill in (512, 512, 0):
            now_s += took_s(prefill, 1)
            meter.step(stats(prefill, 1), now_s)
        meter.gone("a")
        meter.gone("b")
    _, prefill_token_s, _ = load(meter).step_cost
    assert prefill_token_s == pytest.approx(1e-5, rel=0.02)


def test_a_step_that_was_done_before_the_requests_came_tells_nothing():
    meter, now_s = LoadMeter(), NOW_S
    for _ in range(2 * MIN_STEPS):  # each for a request that was aborted meanwhile
        now_s += 1.0
        meter.added("a", 512, now_s)
        meter.step(stats(512), now_s - 0.5)
        meter.gone("a")
    assert load(meter).step_cost is None


def test_without_vllm_s_account_of_its_steps_nothing_is_learnt():
    meter = LoadMeter()
    for second in range(2 * MIN_STEPS):
        meter.step(SchedulerStats(), float(second))
    assert load(meter).step_cost is None


class AnyInterleaving(RuleBasedStateMachine):
    """Requests that come, are computed in parts, decode, end or are aborted, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = LoadMeter()
        self.live: dict[str, int] = {}
        self.names = 0

    @rule(tokens=st.integers(0, 50))
    def add(self, tokens: int) -> None:
        self.names += 1
        self.live[f"r{self.names}"] = tokens
        self.meter.added(f"r{self.names}", tokens, NOW_S)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), tokens=st.integers(0, 50))
    def add_a_piece(self, data, tokens: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        self.live[name] += tokens
        self.meter.added(name, tokens, NOW_S)

    @rule(
        data=st.data(),
        tokens=st.integers(0, 2),
        finish=st.sampled_from([None, None, FinishReason.STOP]),
    )
    def emit(self, data, tokens: int, finish) -> None:
        name = f"r{data.draw(st.integers(1, self.names + 1))}"  # maybe one that ended, or none
        self.meter.output(output(name, *[1] * tokens, finish=finish))
        if finish is not None:
            self.live.pop(name, None)

    @rule(data=st.data())
    def end(self, data) -> None:
        name = f"r{data.draw(st.integers(1, self.names + 1))}"
        self.meter.gone(name)
        self.live.pop(name, None)

    @rule(prefill=st.integers(0, 80), decodes=st.integers(0, 5))
    def take_a_step(self, prefill: int, decodes: int) -> None:
        running = {"num_running_reqs": 3, "num_waiting_reqs": 2, "kv_cache_usage": 0.5}
        self.meter.step(stats(prefill, decodes, **running), NOW_S)

    @invariant()
    def what_is_queued_is_at_most_what_was_asked(self) -> None:
        report = load(self.meter)
        assert 0 <= report.queued_prefill_tokens <= sum(self.live.values())
        assert 0 <= report.decode_requests <= len(self.live)

    @invariant()
    def an_idle_engine_has_no_load(self) -> None:
        if not self.live:
            report = load(self.meter)
            assert (report.running_requests, report.waiting_requests) == (0, 0)
            assert (report.kv_use_frac, report.queued_prefill_tokens) == (0.0, 0)

    def teardown(self) -> None:
        for name in list(self.live):
            self.meter.gone(name)
        self.meter.added("next", 17, NOW_S)  # nothing is left of the others
        assert queued(self.meter) == 17


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
