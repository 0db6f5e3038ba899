"""The switch without sockets: single moves in detail, then any interleaving of everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType, FinishReason
from vllm.v1.metrics.stats import PrefillStats
from vllm.v1.outputs import LogprobsLists

from cluster.failover import FailoverLimits, FailReason, LossCause
from cluster.lifecycle import FlightState
from cluster.types import ReplicaId, RouteRequest
from serve_app import resume
from serve_app.flight_news import Expected
from serve_app.replay import FORCED_TOKENS_KEY
from serve_app.wire import Result
from tests.serve_app.builders import make_core, output, ready, request, step

A, B, C = ReplicaId("a"), ReplicaId("b"), ReplicaId("c")


def lose(core, engine_id, cause=LossCause.DISCONNECTED, now_s=1.0):
    core.engine_lost(engine_id, cause, now_s)


def started(core, recorder, *tokens, **sampling):
    """A request running somewhere, with `tokens` already passed on. Returns its engine."""
    core.request(request("r", **sampling), 0.0)
    engine_id, sent = recorder.added[-1]
    if tokens:
        core.step(engine_id, step(output(sent.request_id, *tokens)), 0.5)
    return engine_id


def other(engine_id):
    return B if engine_id == A else A


def outstanding_tokens(core, engine_id):
    (seen,) = core.view.snapshots(resume.route_request(request("other"), 1), [engine_id])
    return seen.outstanding_tokens


def load(core, engine_id):
    """Have an engine much to do already."""
    other_request = RouteRequest(prompt_tokens=10_000, max_output_tokens=0)
    core.view.sent(engine_id, "of another", other_request, 0)


def test_an_answer_passes_under_the_request_s_own_id():
    core, recorder = make_core("a")
    engine = started(core, recorder, 10, 11)
    core.step(engine, step(output(recorder.last_added.request_id, 12, finish=FinishReason.STOP)), 1)
    assert recorder.tokens_of("r") == [10, 11, 12]
    assert core.flights == {}
    assert outstanding_tokens(core, engine) == 0


def test_a_paused_request_waits_and_goes_on_with_its_tokens():
    core, recorder = make_core("a")
    core.expected["external-r"] = Expected(0.0, pausable=True)
    engine = started(core, recorder, 10, 11)
    (running,) = core.running_batch()
    assert (running.name, running.engine_id, running.held_tokens) == ("external-r", A, 5)
    first = recorder.last_added.request_id
    core.pause(["external-r", "unknown"], 1.0)
    assert recorder.aborted == [(A, first)]
    assert (core.running_batch(), core.held, len(recorder.added)) == ([], {}, 1)
    core.tick(1000.0)
    assert len(core.flights) == 1, "no time is too long for it"
    core.resume(["external-r"], 1000.0)
    sent = recorder.last_added
    assert sent.prompt_token_ids == [1, 2, 3, 10, 11]
    core.step(engine, step(output(sent.request_id, 12, finish=FinishReason.STOP)), 1001.0)
    assert recorder.tokens_of("r") == [10, 11, 12]
    assert core.counters.failed == 0
    (over,) = core.news.take(None).over
    assert (over.usage.output_tokens, over.usage.attempts, over.usage.engine_s) == (3, 2, 2.0)


def test_what_was_not_said_to_be_pausable_is_not_paused():
    core, recorder = make_core("a")
    started(core, recorder, 10)
    core.pause(["external-r"], 1.0)
    assert recorder.aborted == []


def test_moves_are_remembered_with_their_cause():
    core, recorder = make_core("a", "b")
    lost = started(core, recorder, 10, 11)
    lose(core, lost, now_s=3.0)
    (move,) = core.moves
    assert (move.before, move.after, move.tokens) == (lost, other(lost), 2)
    assert (move.at_s, move.request, move.cause) == (3.0, "external-r", LossCause.DISCONNECTED)


def test_a_lost_engine_s_stream_goes_on_elsewhere_with_its_tokens_in_the_prompt():
    core, recorder = make_core("a", "b")
    lost = started(core, recorder, 10, 11, max_tokens=50, min_tokens=5)
    lose(core, lost)
    engine, sent = recorder.added[-1]
    assert engine == other(lost)
    assert sent.prompt_token_ids == [1, 2, 3, 10, 11]
    assert (sent.sampling_params.max_tokens, sent.sampling_params.min_tokens) == (48, 3)
    core.step(engine, step(output(sent.request_id, 12, finish=FinishReason.LENGTH)), 2.0)
    assert recorder.tokens_of("r") == [10, 11, 12]
    assert (core.counters.moved, core.counters.failed) == (1, 0)


def test_a_request_that_had_no_token_yet_is_sent_again_unchanged():
    core, recorder = make_core("a", "b")
    lost = started(core, recorder, seed=3, temperature=1.0)
    lose(core, lost)
    sent = recorder.last_added
    assert sent.prompt_token_ids == [1, 2, 3]
    assert sent.sampling_params.extra_args is None


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({"seed": 1, "temperature": 1.0}, id="seeded sampling"),
        pytest.param({"presence_penalty": 0.5}, id="presence penalty"),
        pytest.param({"frequency_penalty": 0.5}, id="frequency penalty"),
        pytest.param(
            {"structured_outputs": StructuredOutputsParams(regex="a+")}, id="structured output"
        ),
        pytest.param({"bad_words": ["x"]}, id="bad words"),
        pytest.param({"extra_args": {"mine": 1}}, id="arguments of a custom processor"),
    ],
)
def test_sampling_with_state_is_replayed(sampling):
    core, recorder = make_core("a", "b")
    lost = started(core, recorder, 10, 11, **sampling)
    lose(core, lost)
    engine, sent = recorder.added[-1]
    assert sent.prompt_token_ids == [1, 2, 3]
    assert sent.sampling_params.extra_args[FORCED_TOKENS_KEY] == [10, 11]
    core.step(engine, step(output(sent.request_id, 10)), 2.0)
    assert recorder.tokens_of("r") == [10, 11]  # repeated tokens are swallowed
    core.step(engine, step(output(sent.request_id, 11, 12)), 2.0)
    assert recorder.tokens_of("r") == [10, 11, 12]


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({"seed": 1}, id="a seed without sampling"),
        pytest.param({"temperature": 1.0}, id="unseeded sampling"),
        pytest.param({"repetition_penalty": 1.2}, id="repetition penalty counts the prompt too"),
        pytest.param({"logit_bias": {5: 1.0}}, id="logit bias"),
        pytest.param({"logprobs": 2}, id="logprobs"),
    ],
)
def test_sampling_without_state_is_prefilled(sampling):
    core, recorder = make_core("a", "b")
    lose(core, started(core, recorder, 10, 11, **sampling))
    assert recorder.last_added.prompt_token_ids == [1, 2, 3, 10, 11]


def test_a_replay_that_diverges_fails_the_request_and_passes_nothing_on():
    core, recorder = make_core("a", "b")
    lose(core, started(core, recorder, 10, 11, presence_penalty=1.0))
    engine, sent = recorder.added[-1]
    core.step(engine, step(output(sent.request_id, 99)), 2.0)
    assert recorder.tokens_of("r") == [10, 11]
    assert recorder.passed[-1].finish_reason is FinishReason.ERROR
    assert core.failures["external-r"].reason is FailReason.DIVERGED
    assert recorder.aborted == [(engine, sent.request_id)]


def test_a_replay_cuts_the_logprobs_of_repeated_tokens_too():
    core, recorder = make_core("a", "b")
    lose(core, started(core, recorder, 10, presence_penalty=1.0, logprobs=1))
    engine, sent = recorder.added[-1]
    two = LogprobsLists(np.array([[10], [11]]), np.array([[-1.0], [-2.0]]), np.array([1, 2]))
    core.step(engine, step(output(sent.request_id, 10, 11, new_logprobs=two)), 2.0)
    passed = recorder.passed[-1]
    assert passed.new_token_ids == [11]
    assert passed.new_logprobs.logprobs.tolist() == [[-2.0]]


def test_prefill_statistics_and_prompt_logprobs_reach_the_client_once():
    core, recorder = make_core("a", "b")
    stats = PrefillStats()
    lost = started(core, recorder)
    core.step(lost, step(output(recorder.last_added.request_id, 10, prefill_stats=stats)), 0.5)
    lose(core, lost)
    engine, sent = recorder.added[-1]
    event = EngineCoreEvent(EngineCoreEventType.QUEUED, 5.0)
    core.step(engine, step(output(sent.request_id, 11, prefill_stats=stats, events=[event])), 2)
    assert recorder.passed[0].prefill_stats is not None
    assert (recorder.passed[1].prefill_stats, recorder.passed[1].events) == (None, None)


def test_late_outputs_of_a_lost_attempt_are_dropped():
    core, recorder = make_core("a", "b")
    lost = started(core, recorder, 10)
    stale_id = recorder.last_added.request_id
    lose(core, lost)
    core.engine_joined(lost, ready(lost), 1.5)  # it was only unreachable
    core.step(lost, step(output(stale_id, 66, finish=FinishReason.STOP)), 2.0)
    assert recorder.tokens_of("r") == [10]
    assert "r" in core.flights
    assert core.counters.stale_outputs == 1


def test_an_engine_that_aborts_by_itself_hands_its_request_on():
    core, recorder = make_core("a", "b")
    engine = started(core, recorder, 10)
    core.step(engine, step(output(recorder.last_added.request_id, finish=FinishReason.ABORT)), 1)
    assert len(recorder.added) == 2
    assert recorder.passed[-1].finish_reason is None


def test_an_abort_that_an_operator_caused_reaches_the_client():
    core, recorder = make_core("a")
    engine = started(core, recorder, 10)
    core.utility(1, "pause_scheduler", ["abort", True], 0.6)
    core.result(engine, Result(recorder.asked[-1][1].call_id, None, None))
    core.step(engine, step(output(recorder.last_added.request_id, finish=FinishReason.ABORT)), 1)
    assert recorder.passed[-1].finish_reason is FinishReason.ABORT


def test_without_another_engine_a_stream_waits_for_the_next_one():
    core, recorder = make_core("a")
    lose(core, started(core, recorder, 10))
    assert set(core.held) == {"r"}
    core.engine_joined(B, ready("b"), 60.0)
    assert core.held == {}
    assert recorder.added[-1][0] == B


def test_a_held_request_fails_at_the_limit_and_says_when():
    core, recorder = make_core(limits=FailoverLimits(hold_timeout_s=30.0))
    core.request(request("r"), 0.0)
    core.tick(29.9)
    assert core.counters.failed == 0
    core.tick(30.0)
    failure = core.failures["external-r"]
    assert failure.reason is FailReason.NO_ENGINE
    assert failure.retryable
    assert "30 s" in failure.message
    assert recorder.passed[-1].finish_reason is FinishReason.ERROR


def test_a_request_that_two_engines_died_of_reaches_no_third(caplog):
    core, recorder = make_core("a", "b", "c")
    lose(core, started(core, recorder, 10))
    lose(core, recorder.added[-1][0])
    assert len(recorder.added) == 2
    assert core.failures["external-r"].reason is FailReason.POISON
    assert not core.failures["external-r"].retryable
    assert "the suspect has 3 prompt tokens" in caplog.text


def test_an_engine_that_was_only_out_of_reach_did_not_die_of_its_requests():
    core, recorder = make_core("a", "b")
    started(core, recorder, 10)
    for _ in range(3):
        lost = recorder.added[-1][0]
        lose(core, lost)
        core.engine_joined(lost, ready(lost), 2.0)
    assert len(recorder.added) == 4
    assert core.counters.failed == 0


def test_removals_are_held_against_no_request_but_other_losses_are_bounded():
    core, recorder = make_core("a", "b", "c", limits=FailoverLimits(max_attempts=2))
    started(core, recorder, 10)
    for name in ("d", "e", "f", "g"):
        lose(core, recorder.added[-1][0], LossCause.REMOVED)
        core.engine_joined(ReplicaId(name), ready(name), 2.0)
    for _ in range(3):
        assert core.counters.failed == 0
        lose(core, recorder.added[-1][0], LossCause.ABORTED)
    assert core.failures["external-r"].reason is FailReason.MAX_ATTEMPTS


def test_a_request_over_the_limit_is_refused_and_told_to_come_again():
    core, recorder = make_core("a", max_flights=2)
    for name in ("r1", "r2", "r3"):
        core.request(request(name), 0.0)
    assert len(recorder.added) == 2
    assert core.failures["external-r3"].reason is FailReason.OVERLOADED
    assert core.failures["external-r3"].retryable
    core.abort(["r1"], 1.0)
    core.request(request("r4"), 1.0)
    assert len(recorder.added) == 3


HEDGING = FailoverLimits(hedge_after_s=5.0)


def test_a_request_that_waits_long_for_its_first_token_moves_once():
    core, recorder = make_core("a", limits=HEDGING)
    started(core, recorder)
    attempt = recorder.last_added.request_id
    core.engine_joined(B, ready("b"), 1.0)
    core.tick(4.9)
    assert recorder.aborted == []
    core.tick(5.0)
    assert recorder.aborted == [(A, attempt)]
    engine, sent = recorder.added[-1]
    assert engine == B
    core.step(A, step(output(attempt, 66)), 5.1)  # too late
    core.tick(50.0)
    assert len(recorder.added) == 2
    core.step(B, step(output(sent.request_id, 10, finish=FinishReason.STOP)), 51.0)
    assert recorder.tokens_of("r") == [10]
    assert all(outstanding_tokens(core, engine) == 0 for engine in core.engines)


def test_a_request_that_has_begun_is_not_hedged():
    core, recorder = make_core("a", "b", limits=HEDGING)
    started(core, recorder, 10)
    core.tick(50.0)
    assert recorder.aborted == []


def test_a_slow_request_stays_where_every_other_engine_has_more_to_do():
    core, recorder = make_core("a", limits=HEDGING)
    started(core, recorder)
    core.engine_joined(B, ready("b"), 1.0)
    load(core, B)
    core.tick(50.0)
    assert recorder.aborted == []


def leave(core, engine_id, now_s=1.0):
    core.engine_leaving(engine_id, True, now_s)


def test_a_leaving_engine_s_stream_moves_at_once_and_the_engine_is_told():
    core, recorder = make_core("a", "b")
    left = started(core, recorder, 10, 11, max_tokens=500)
    attempt = recorder.last_added.request_id
    leave(core, left)
    assert recorder.aborted == [(left, attempt)]
    engine, sent = recorder.added[-1]
    assert engine == other(left)
    assert sent.prompt_token_ids == [1, 2, 3, 10, 11]
    assert outstanding_tokens(core, left) == 0
    assert (core.counters.moved, core.counters.failed) == (1, 0)


def test_a_leaving_engine_gets_no_new_request():
    core, recorder = make_core("a", "b")
    leave(core, A)
    for index in range(5):
        core.request(request(f"r{index}"), 1.0)
    assert {engine for engine, _ in recorder.added} == {B}
    assert core.open_engines == 1


def test_with_nowhere_to_go_a_stream_ends_on_the_leaving_engine():
    core, recorder = make_core("a")
    started(core, recorder, 10)
    attempt = recorder.last_added.request_id
    leave(core, A)
    assert (recorder.aborted, core.open_engines) == ([], 0)
    core.step(A, step(output(attempt, 11, finish=FinishReason.STOP)), 2.0)
    assert recorder.tokens_of("r") == [10, 11]
    assert core.counters.finished == 1


def test_a_request_that_comes_when_all_engines_leave_waits_for_the_next():
    core, recorder = make_core("a")
    leave(core, A)
    core.request(request("r"), 1.0)
    assert set(core.held) == {"r"}
    core.engine_joined(B, ready("b"), 2.0)
    assert recorder.added[-1][0] == B


def test_a_stream_moves_as_soon_as_there_is_somewhere_to_go():
    core, recorder = make_core("a")
    started(core, recorder, 10, max_tokens=500)
    leave(core, A)
    core.engine_joined(B, ready("b"), 2.0)
    assert recorder.added[-1][0] == B


@pytest.mark.parametrize(
    ("newcomer", "sampling"),
    [
        pytest.param(ready("b", fingerprint="new weights"), {}, id="other weights"),
        pytest.param(ready("b", can_replay=False), {"presence_penalty": 1.0}, id="no replay there"),
    ],
)
def test_a_stream_that_no_other_engine_can_continue_ends_where_it_is(newcomer, sampling):
    core, recorder = make_core("a")
    started(core, recorder, 10, **sampling)
    core.engine_joined(B, newcomer, 0.6)
    leave(core, A)
    assert recorder.aborted == []
    assert core.counters.failed == 0


def test_a_stream_about_to_end_is_left_to_end_but_not_for_ever():
    core, recorder = make_core("a", "b", limits=FailoverLimits(finish_within_s=2.0))
    left = started(core, recorder, 10, max_tokens=20)  # its first token at 0.5 s
    attempt = recorder.last_added.request_id
    core.step(left, step(output(attempt, *range(11, 20))), 1.4)  # 10 in 0.9 s: 10 more in 1 s
    leave(core, left, 1.4)
    assert recorder.aborted == []
    core.tick(2.0)
    assert recorder.aborted == []
    core.tick(5.0)  # ten tokens in 4.5 s: 5 s more
    assert recorder.aborted == [(left, attempt)]


def test_an_engine_that_stays_after_all_takes_what_waited():
    core, recorder = make_core("a")
    leave(core, A)
    core.request(request("r"), 1.0)
    core.engine_leaving(A, False, 2.0)
    assert recorder.added[-1][0] == A


def test_a_stream_never_continues_on_other_weights():
    core, recorder = make_core("a")
    core.engine_joined(B, ready("b", fingerprint="new weights"), 0.0)
    load(core, B)  # so that it starts on a
    lose(core, started(core, recorder, 10))
    assert set(core.held) == {"r"}
    core.engine_joined(C, ready("c"), 5.0)
    assert recorder.added[-1][0] == C


def test_a_request_without_tokens_may_start_on_other_weights():
    core, recorder = make_core("a")
    lose(core, started(core, recorder))
    core.engine_joined(B, ready("b", fingerprint="new weights"), 5.0)
    assert recorder.added[-1][0] == B


def test_a_replay_where_no_engine_can_is_refused_at_once():
    core, recorder = make_core("a")
    core.engine_joined(B, ready("b", can_replay=False), 0.0)
    load(core, B)
    lose(core, started(core, recorder, 10, presence_penalty=1.0))
    assert core.failures["external-r"].reason is FailReason.NOT_RESUMABLE


def test_abort_reaches_the_engine_once_and_ends_the_flight():
    core, recorder = make_core("a")
    engine = started(core, recorder, 10)
    core.abort(["r", "unknown"], 1.0)
    core.abort(["r"], 1.0)
    assert recorder.aborted == [(engine, recorder.last_added.request_id)]
    assert core.flights == {}
    assert outstanding_tokens(core, engine) == 0


def test_engine_clocks_are_taken_to_the_switch_s():
    core, recorder = make_core()
    core.engine_joined(A, ready("a", clock_s=900.0), 1000.0)
    core.request(request("r"), 1000.0)
    event = EngineCoreEvent(EngineCoreEventType.QUEUED, 901.0)
    outputs = step(output(recorder.last_added.request_id, 10, events=[event]))
    outputs.timestamp = 902.0
    core.step(A, outputs, 1003.0)
    assert outputs.timestamp == 1002.0
    assert recorder.passed[0].events[0].timestamp == 1001.0


def test_the_statistics_sum_over_the_engines():
    from serve_app.wire import Load

    core, _ = make_core("a", "b")
    core.load(A, Load(3, 1, 0.2, 9), 0.0)
    core.load(B, Load(2, 0, 0.7, 9), 0.0)
    stats = core.stats().scheduler_stats
    assert (stats.num_running_reqs, stats.num_waiting_reqs, stats.kv_cache_usage) == (5, 1, 0.7)


class AnyInterleaving(RuleBasedStateMachine):
    """Engines that join, leave, stall and lie late; clients that come and abort.

    The model of an answer is a count: token k of every request has the value k, so that a lost,
    doubled or reordered token shows.
    """

    LENGTH = 6

    def __init__(self) -> None:
        super().__init__()
        self.core, self.recorder = make_core(
            limits=FailoverLimits(
                max_attempts=5, poison_deaths=4, hold_timeout_s=10.0, hedge_after_s=8.0
            )
        )
        self.now_s = 0.0
        self.names = 0
        self.requests = 0
        self.aborted: set[str] = set()
        self.pausable: list[str] = []  # names, of those that came and were counted elsewhere
        self.over: dict[str, int] = {}  # output tokens, by name
        self.attempts: list[tuple[ReplicaId, object, int]] = []  # all ever sent, and progress
        self.seen_added = 0
        add = self.recorder.add

        def checked(engine_id, sent) -> None:
            assert not self.core.engines[engine_id].leaving, "given to an engine that leaves"
            add(engine_id, sent)

        self.recorder.add = checked

    def _note_attempts(self) -> None:
        new = self.recorder.added[self.seen_added :]
        self.attempts += [(engine, sent, 0) for engine, sent in new]
        self.seen_added = len(self.recorder.added)

    @rule(replay=st.booleans(), pausable=st.booleans())
    def arrive(self, replay: bool, pausable: bool) -> None:
        self.requests += 1
        if pausable:
            self.pausable.append(f"external-r{self.requests}")
            self.core.expected[self.pausable[-1]] = Expected(self.now_s, pausable=True)
        sampling = {"presence_penalty": 1.0} if replay else {}
        self.core.request(
            request(f"r{self.requests}", max_tokens=self.LENGTH, **sampling), self.now_s
        )

    @rule(data=st.data())
    def abort(self, data) -> None:
        if self.requests:
            request_id = f"r{data.draw(st.integers(1, self.requests))}"
            if request_id in self.core.flights:
                self.aborted.add(request_id)
            self.core.abort([request_id], self.now_s)

    @precondition(lambda self: self.pausable)
    @rule(data=st.data(), go_on=st.booleans())
    def pause(self, data, go_on: bool) -> None:
        names = data.draw(st.lists(st.sampled_from(self.pausable), max_size=3))
        (self.core.resume if go_on else self.core.pause)(names, self.now_s)

    @rule()
    def join(self) -> None:
        self.names += 1
        self.core.engine_joined(ReplicaId(f"e{self.names}"), ready("x"), self.now_s)

    @precondition(lambda self: self.core.engines)
    @rule(data=st.data(), cause=st.sampled_from(list(LossCause)))
    def leave(self, data, cause) -> None:
        engine = data.draw(st.sampled_from(sorted(self.core.engines)))
        self.core.engine_lost(engine, cause, self.now_s)

    @precondition(lambda self: self.core.engines)
    @rule(data=st.data(), leaving=st.booleans())
    def announce(self, data, leaving: bool) -> None:
        engine = data.draw(st.sampled_from(sorted(self.core.engines)))
        self.core.engine_leaving(engine, leaving, self.now_s)

    @rule(data=st.data(), tokens=st.integers(1, 3))
    def emit(self, data, tokens: int) -> None:
        """Some attempt, live or stale, says its next tokens, as its engine would."""
        self._note_attempts()
        if not self.attempts:
            return
        index = data.draw(st.integers(0, len(self.attempts) - 1))
        engine, sent, done = self.attempts[index]
        first = len(sent.prompt_token_ids) - 3 + done
        tokens = min(tokens, self.LENGTH - first)
        last = first + tokens == self.LENGTH
        finish = FinishReason.LENGTH if last else None
        values = range(first, first + tokens)
        self.core.step(engine, step(output(sent.request_id, *values, finish=finish)), self.now_s)
        self.attempts[index] = (engine, sent, done + tokens)  # a finish may repeat: tokens == 0

    @rule(elapsed_s=st.floats(0.1, 6.0))
    def wait(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s
        self.core.tick(self.now_s)

    @invariant()
    def every_flight_ends_at_most_once(self) -> None:
        ends = [p.request_id for p in self.recorder.passed if p.finish_reason is not None]
        assert len(ends) == len(set(ends))
        assert not self.aborted & set(ends)

    @invariant()
    def requests_in_equal_ended_plus_in_flight(self) -> None:
        counters = self.core.counters
        ended = counters.finished + counters.aborted + counters.failed
        assert self.requests == ended + len(self.core.flights)

    @invariant()
    def tokens_arrive_once_and_in_order(self) -> None:
        for index in range(1, self.requests + 1):
            tokens = self.recorder.tokens_of(f"r{index}")
            assert tokens == list(range(len(tokens)))

    @invariant()
    def finished_answers_are_whole(self) -> None:
        for passed in self.recorder.passed:
            if passed.finish_reason is FinishReason.LENGTH:
                assert len(self.recorder.tokens_of(passed.request_id)) == self.LENGTH

    @invariant()
    def load_is_the_sum_over_live_flights(self) -> None:
        for engine in self.core.engines.values():
            left = [resume.route_request(each.request, 1) for each in engine.flights.values()]
            sizes = [each.prompt_tokens + each.max_output_tokens for each in left]
            assert outstanding_tokens(self.core, engine.id) == sum(sizes)
            assert all(flight.engine_id == engine.id for flight in engine.flights.values())

    @invariant()
    def a_flight_is_held_or_on_an_engine(self) -> None:
        for request_id, flight in self.core.flights.items():
            if flight.name not in self.pausable:
                assert (request_id in self.core.held) == (flight.engine_id is None)
            assert request_id not in self.core.held or flight.engine_id is None
            assert flight.engine_id is None or flight.engine_id in self.core.engines
            state = FlightState.HELD if flight.engine_id is None else FlightState.RUNNING
            assert flight.state is state

    @invariant()
    def the_scaler_s_counts_add_up(self) -> None:
        counts = self.core.counts
        assert counts.requests == self.requests - len(self.pausable)
        ended = self.core.counters.finished + self.core.counters.failed + len(self.aborted)
        assert counts.ttft_good <= counts.ttft_total <= self.requests
        assert counts.tpot_good <= counts.tpot_total <= counts.answered_requests <= ended
        assert self.core.counters.finished <= counts.answered_requests
        assert counts.output_tokens <= self.LENGTH * counts.answered_requests

    @invariant()
    def nothing_waits_while_an_engine_is_open(self) -> None:
        assert not self.core.held or self.core.open_engines == 0

    @invariant()
    def what_is_over_is_told_once(self) -> None:
        for over in self.core.news.take(None).over:
            assert over.name not in self.over
            self.over[over.name] = over.usage.output_tokens

    def teardown(self) -> None:
        self.core.abort([f"r{index}" for index in range(1, self.requests + 1)], self.now_s)
        assert self.core.flights == {}
        assert self.core.running_batch() == []
        self.what_is_over_is_told_once()
        assert self.over == {
            f"external-r{index}": len(self.recorder.tokens_of(f"r{index}"))
            for index in range(1, self.requests + 1)
        }
        assert all(outstanding_tokens(self.core, engine) == 0 for engine in self.core.engines)


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
