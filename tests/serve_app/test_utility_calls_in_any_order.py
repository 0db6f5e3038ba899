"""Utility calls while engines come and go in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.types import ReplicaId
from tests.serve_app.asked_engines import engines


class AnyOrder(RuleBasedStateMachine):
    """Engines that come and go while calls are in progress.

    Every call is answered at most once, exactly once when the dust has settled; and every engine
    that is ready then has every adapter that was loaded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fleet = engines()
        self.names = 0
        self.calls = 0
        self.loaded: dict[ReplicaId, list[int]] = {}

    @rule(method=st.sampled_from(["get_supported_tasks", "list_loras"]))
    def ask(self, method) -> None:
        self.calls += 1
        self.fleet.call(self.calls, method)

    @rule()
    def load_an_adapter(self) -> None:
        self.calls += 1
        self.fleet.call(self.calls, "add_lora", [f"a{self.calls}", self.calls, "/"])

    @rule()
    def join(self) -> None:
        self.names += 1
        engine = ReplicaId(f"e{self.names}")
        self.loaded[engine] = []
        self.fleet.join(engine)

    @precondition(lambda self: self.fleet.ready)
    @rule(data=st.data())
    def lose(self, data) -> None:
        self.fleet.lose(data.draw(st.sampled_from(self.fleet.ready)))

    @precondition(lambda self: any(self.fleet.open.values()))
    @rule(data=st.data())
    def reply(self, data) -> None:
        busy = sorted(engine for engine, calls in self.fleet.open.items() if calls)
        self._reply(data.draw(st.sampled_from(busy)))

    def _reply(self, engine: ReplicaId) -> None:
        call = self.fleet.open[engine][0]
        if call.method == "add_lora":
            self.loaded[engine].append(call.args[0][1])
        values = {"get_supported_tasks": ["generate"], "add_lora": True, "list_loras": [0]}
        self.fleet.reply(engine, values[call.method])

    @invariant()
    def nothing_is_answered_twice(self) -> None:
        answered = [answer.call_id for answer in self.fleet.answers]
        assert len(answered) == len(set(answered))

    def teardown(self) -> None:
        self.join()
        while busy := [engine for engine, calls in self.fleet.open.items() if calls]:
            self._reply(busy[0])
        assert len(self.fleet.answers) == self.calls
        assert all(answer.failure is None for answer in self.fleet.answers)
        everything = {args[0][1] for _, args in self.fleet.calls.journal}
        for engine in self.fleet.ready:
            assert set(self.loaded[engine]) == everything


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
