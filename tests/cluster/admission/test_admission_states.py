"""Over arbitrary lives of requests: each has one end, and nothing of it is left behind."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.admission.boundary import Admitted, Queued, Served
from cluster.admission.engine_room import EngineState
from cluster.admission.refusal import Refused
from tests.cluster.admission.admission_cases import admission, engine, offer, tenant

TENANTS = [
    tenant("a", max_concurrent=8),
    tenant("b", weight=3.0, tokens_per_min=5000),
    tenant("n", priority="batch"),
]
SERVED = Served(prompt_tokens=100, output_tokens=50)
PICK = st.integers(0, 50)


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.gate = admission(*TENANTS, max_wait_s=5.0, max_queued_requests=12)
        self.now_s, self.offered = 0.0, 0
        self.waiting: set[str] = set()
        self.running: set[str] = set()
        self.over: set[str] = set()

    @rule(pick=PICK)
    def offers(self, pick: int) -> None:
        self.offered += 1
        name = str(self.offered)
        answer = self.gate.offer(offer(name, TENANTS[pick % 3], 10 + pick, 50), self.now_s)
        {Admitted: self.running, Queued: self.waiting, Refused: self.over}[type(answer)].add(name)

    @rule(pick=PICK)
    def releases(self, pick: int) -> None:
        self._release([engine(running_requests=250 + pick, inflight_requests=1)])

    def _release(self, engines: list[EngineState]) -> None:
        released = self.gate.release("m", engines, self.now_s)
        sent, late = set(released.send), {name for name, _ in released.refused}
        assert len(sent) == len(released.send)
        assert sent | late <= self.waiting
        assert not sent & late
        for name in sent:
            self.gate.sent(name)
        self.waiting -= sent | late
        self.running |= sent
        self.over |= late

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def ends(self, pick: int) -> None:
        name = picked(self.running, pick)
        self.gate.ended(name, SERVED, self.now_s)
        self.running.remove(name)
        self.over.add(name)

    @precondition(lambda self: self.running | self.waiting)
    @rule(pick=PICK, served=st.sampled_from([Served(), SERVED]))
    def is_cancelled(self, pick: int, served: Served) -> None:
        name = picked(self.running | self.waiting, pick)
        self.gate.cancelled(name, self.now_s, served)
        self.running.discard(name)
        self.waiting.discard(name)
        self.over.add(name)

    @precondition(lambda self: self.running | self.waiting)
    @rule(pick=PICK)
    def is_resized(self, pick: int) -> None:
        name = picked(self.running | self.waiting, pick)
        self.gate.resized(name, prompt_tokens=pick, max_output_tokens=None, now_s=self.now_s)

    @precondition(lambda self: self.running)
    @rule(pick=PICK)
    def is_paused(self, pick: int) -> None:
        name = picked(self.running, pick)
        self.gate.paused(name, SERVED)
        self.running.remove(name)
        self.waiting.add(name)

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def counts_what_waits(self) -> None:
        state = self.gate.state("m", self.now_s)
        assert sum(state.waiting_requests.values()) == len(self.waiting)
        assert (state.waiting_tokens > 0) == bool(self.waiting)

    def teardown(self) -> None:
        """Whoever waits goes in the end: an idle engine takes at least one each time."""
        while self.waiting:
            before = len(self.waiting)
            self._release([engine()])
            assert len(self.waiting) < before
        for name in self.running:
            self.gate.ended(name, SERVED, self.now_s)
        assert self.gate.next_deadline_s is None
        claims = self.gate.share_report(self.now_s + 1e6).claims
        assert claims["concurrent/a"].demand == pytest.approx(0.0)


def picked(names: set[str], pick: int) -> str:
    return sorted(names)[pick % len(names)]


Lives.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLives = Lives.TestCase
