"""The view of the fleet: a report, and what was sent since, counted once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.routing.fleet_view import FleetView
from cluster.types import (
    BlockHash,
    LoadReport,
    ReplicaId,
    ReplicaSnapshot,
    RouteRequest,
    StepCost,
)

A, B = ReplicaId("a"), ReplicaId("b")
BLOCKS = [BlockHash(number) for number in range(1, 5)]
ANY = RouteRequest(prompt_tokens=100, max_output_tokens=50)
COST = StepCost(base_s=0.01, prefill_token_s=1e-4, decode_request_s=1e-3)


def view_of(*replicas: ReplicaId, kv_total_tokens: int = 1000) -> FleetView:
    view = FleetView()
    for replica in replicas:
        view.joined(replica, kv_total_tokens=kv_total_tokens, block_tokens=16)
    return view


def seen(view: FleetView, replica: ReplicaId = A, request: RouteRequest = ANY) -> ReplicaSnapshot:
    (snapshot,) = view.snapshots(request, [replica])
    return snapshot


def test_one_of_which_nothing_is_known_has_zeros():
    assert seen(view_of(A, kv_total_tokens=0)) == ReplicaSnapshot(id=A)


def test_what_was_sent_is_on_top_of_the_report_until_a_report_has_it():
    view = view_of(A)
    report = LoadReport(
        running_requests=5,
        waiting_requests=3,
        decode_requests=4,
        queued_prefill_tokens=700,
        kv_use_frac=0.5,
        received=0,
        step_cost=COST,
    )
    view.reported(A, report)
    view.sent(A, "one", ANY, cached_tokens=40)
    view.sent(A, "two", ANY, cached_tokens=0)
    view.began("one")
    assert seen(view) == ReplicaSnapshot(
        id=A,
        outstanding_tokens=300,
        inflight_requests=2,
        running_requests=6,
        waiting_requests=4,
        decode_requests=5,
        queued_prefill_tokens=800,
        kv_use_frac=pytest.approx(0.6),
        kv_total_tokens=1000,
        step_cost=COST,
    )
    view.reported(A, LoadReport(running_requests=1, received=1))
    now = seen(view)
    assert (now.running_requests, now.decode_requests, now.waiting_requests) == (1, 0, 1)
    assert (now.queued_prefill_tokens, now.kv_use_frac) == (100, pytest.approx(0.1))
    view.reported(A, LoadReport(received=2))
    assert seen(view) == ReplicaSnapshot(
        id=A, outstanding_tokens=300, inflight_requests=2, kv_total_tokens=1000
    )


def test_the_cache_is_never_more_than_full():
    view = view_of(A)
    view.reported(A, LoadReport(kv_use_frac=0.95))
    view.sent(A, "one", ANY, cached_tokens=0)
    assert seen(view).kv_use_frac == 1.0


@pytest.mark.parametrize(
    ("prompt_tokens", "cached_tokens"),
    [
        pytest.param(70, 64, id="a whole prompt but for its last block's rest"),
        pytest.param(65, 64, id="all but the last token"),
        pytest.param(64, 48, id="its last token is computed, with the block it lies in"),
        pytest.param(1, 0, id="a prompt of one token"),
        pytest.param(0, 0, id="an empty prompt"),
    ],
)
def test_cached_tokens_are_what_vllm_will_find(prompt_tokens, cached_tokens):
    view = view_of(A, B)
    view.index.store(A, BLOCKS)
    request = RouteRequest(prompt_tokens=prompt_tokens, max_output_tokens=1, blocks=BLOCKS)
    snapshots = view.snapshots(request, [B, A])
    assert [(s.id, s.cached_tokens) for s in snapshots] == [(B, 0), (A, cached_tokens)]
    assert seen(view, A, ANY).cached_tokens == 0  # a request that shares nothing with it


def test_the_prompt_of_a_request_just_sent_counts_as_cached_until_its_first_token():
    view = view_of(A)
    request = RouteRequest(prompt_tokens=100, max_output_tokens=1, blocks=BLOCKS)
    view.sent(A, "one", request, cached_tokens=0)
    assert seen(view, A, request).cached_tokens == 64
    view.began("one")
    assert seen(view, A, request).cached_tokens == 0
    view.sent(A, "two", request, cached_tokens=0)
    view.ended("two")
    assert seen(view, A, request).cached_tokens == 0


def test_a_replica_that_left_is_not_asked_for():
    view = view_of(A, B)
    view.left(A)
    view.reported(A, LoadReport())  # late
    for use in (
        lambda: view.snapshots(ANY, [A]),
        lambda: view.sent(A, "one", ANY, cached_tokens=0),
    ):
        with pytest.raises(LookupError, match="'a' is not among the 1"):
            use()


def test_an_attempt_is_sent_once():
    view = view_of(A, B)
    view.sent(A, "one", ANY, cached_tokens=0)
    view.began("one")
    with pytest.raises(ValueError, match="'one' is already at 'a'"):
        view.sent(B, "one", ANY, cached_tokens=0)
    assert seen(view, B).inflight_requests == 0


def test_block_tokens_must_be_positive():
    with pytest.raises(ValueError, match="block_tokens of replica 'a' is 0"):
        FleetView().joined(A, kv_total_tokens=1, block_tokens=0)


@dataclass
class Sent:
    """An attempt as the oracle keeps it: one that ended stays, with `ended` set."""

    replica: ReplicaId
    number: int
    request: RouteRequest
    cached_tokens: int
    began: bool = False
    ended: bool = False


some_replica = st.sampled_from([A, B])
loads = st.integers(0, 9)
some_attempt = st.integers(0, 30)


class ViewAgainstList(RuleBasedStateMachine):
    """The oracle keeps every attempt and sums anew at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.view = FleetView()
        self.reports: dict[ReplicaId, LoadReport] = {}  # of those that joined
        self.all: list[Sent] = []

    def open(self, replica: ReplicaId) -> list[Sent]:
        return [sent for sent in self.all if sent.replica == replica and not sent.ended]

    @rule(replica=some_replica)
    def join(self, replica):
        self.leave(replica)
        self.view.joined(replica, kv_total_tokens=1000, block_tokens=16)
        self.reports[replica] = LoadReport()

    @rule(replica=some_replica)
    def leave(self, replica):
        self.view.left(replica)
        self.reports.pop(replica, None)
        for sent in self.open(replica):
            sent.ended = True
        for sent in self.all:
            if sent.replica == replica:
                sent.number = 0  # no report of a later connection is about it

    @rule(
        replica=some_replica,
        prompt_tokens=loads,
        cached_tokens=loads,
        blocks=st.integers(0, len(BLOCKS)),
    )
    def send(self, replica, prompt_tokens, cached_tokens, blocks):
        if replica not in self.reports:
            return
        number = 1 + max((s.number for s in self.all if s.replica == replica), default=0)
        request = RouteRequest(
            prompt_tokens=prompt_tokens, max_output_tokens=5, blocks=BLOCKS[:blocks]
        )
        self.view.sent(replica, str(len(self.all)), request, cached_tokens)
        self.all.append(Sent(replica, number, request, cached_tokens))

    @rule(replica=some_replica, load=loads, behind=st.integers(0, 3))
    def report(self, replica, load, behind):
        known = self.reports.get(replica)
        sent = max((s.number for s in self.all if s.replica == replica), default=0)
        received = max(sent - behind, known.received if known else 0)
        report = LoadReport(
            running_requests=load, waiting_requests=load, decode_requests=load, received=received
        )
        self.view.reported(replica, report)
        if known:
            self.reports[replica] = report

    @rule(attempt=some_attempt)
    def begin(self, attempt):
        self.view.began(str(attempt))
        if attempt < len(self.all):
            self.all[attempt].began = True

    @rule(attempt=some_attempt)
    def end(self, attempt):
        self.view.ended(str(attempt))
        if attempt < len(self.all):
            self.all[attempt].ended = True

    @invariant()
    def every_snapshot_is_the_sum(self):
        for replica, report in self.reports.items():
            there = self.open(replica)
            new = [sent for sent in there if sent.number > report.received]
            waiting = [sent for sent in new if not sent.began]
            prefill_tokens = sum(
                max(sent.request.prompt_tokens - sent.cached_tokens, 0) for sent in waiting
            )
            begun = len(new) - len(waiting)
            assert seen(self.view, replica) == ReplicaSnapshot(
                id=replica,
                outstanding_tokens=sum(sent.request.prompt_tokens + 5 for sent in there),
                inflight_requests=len(there),
                running_requests=report.running_requests + begun,
                waiting_requests=report.waiting_requests + len(waiting),
                decode_requests=report.decode_requests + begun,
                queued_prefill_tokens=prefill_tokens,
                kv_use_frac=pytest.approx(prefill_tokens / 1000),
                kv_total_tokens=1000,
            )

    @invariant()
    def blocks_are_expected_where_attempts_wait(self):
        expected: dict[ReplicaId, int] = {}
        for replica in self.reports:
            waiting = [len(s.request.blocks) for s in self.open(replica) if not s.began]
            if any(waiting):
                expected[replica] = max(waiting)
        assert self.view.index.lookup(BLOCKS) == expected

    def teardown(self):
        for attempt in range(len(self.all)):
            self.end(attempt)
        for replica, report in self.reports.items():
            now = seen(self.view, replica)
            assert (now.outstanding_tokens, now.inflight_requests) == (0, 0)
            assert now.queued_prefill_tokens == 0
            assert now.waiting_requests == report.waiting_requests
            assert now.decode_requests == report.decode_requests
        assert self.view.index.lookup(BLOCKS) == {}


TestViewAgainstList = ViewAgainstList.TestCase
TestViewAgainstList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
