"""Utility calls in progress: asked of one engine or all, answered to the API server once.

Sans I/O, like the rest of the switch's core: sends through the callbacks it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from cluster.types import ReplicaId
from serve_app.utilities import Journal, Scope, rule_of
from serve_app.wire import Result, Utility


@dataclass(slots=True)
class _Call:
    client_call_id: int
    method: str
    args: list[Any]
    asked_at_s: float
    waiting_for: set[ReplicaId] = field(default_factory=set)
    values: list[Any] = field(default_factory=list)
    failure: str | None = None


class UtilityCalls:
    """`ask(engine, call)` sends to an engine, `answer(result)` to the API server."""

    def __init__(
        self,
        ask: Callable[[ReplicaId, Utility], None],
        answer: Callable[[Result], None],
        timeout_s: float,
    ) -> None:
        self.journal = Journal()
        self._ask, self._answer, self._timeout_s = ask, answer, timeout_s
        self._calls: dict[int, _Call] = {}  # by our own call id
        self._held: list[_Call] = []  # no engine was ready
        self._next_id = 0

    def start(
        self,
        call_id: int,
        method: str,
        args: list[Any],
        engines: Collection[ReplicaId],
        now_s: float,
    ) -> None:
        """A call from the API server; `engines` are those ready now."""
        self._send(_Call(call_id, method, args, now_s), engines)

    def engine_joined(self, engine_id: ReplicaId, engines: Collection[ReplicaId]) -> None:
        """Bring a new engine to the state the others are in or are getting into, then give it what
        was held."""
        for method, args in self.journal:
            # Its answer is not awaited by anyone: the call id is not registered.
            self._ask(engine_id, Utility(self._new_id(), method, args))
        for our_id, call in self._calls.items():
            if rule_of(call.method).scope is Scope.ALL:
                call.waiting_for.add(engine_id)
                self._ask(engine_id, Utility(our_id, call.method, call.args))
        held, self._held = self._held, []
        for call in held:
            self._send(call, engines)

    def engine_lost(self, engine_id: ReplicaId, engines: Collection[ReplicaId]) -> None:
        """Go on without its answers; a call that only it was asked goes to another."""
        for our_id, call in list(self._calls.items()):
            if engine_id not in call.waiting_for:
                continue
            call.waiting_for.discard(engine_id)
            if call.waiting_for:
                continue
            del self._calls[our_id]
            if call.values or call.failure:
                self._finish(call)
            else:
                self._send(call, engines)

    def result(self, engine_id: ReplicaId, result: Result) -> None:
        """An engine's answer. Late or unknown ones are ignored."""
        call = self._calls.get(result.call_id)
        if call is None or engine_id not in call.waiting_for:
            return
        call.waiting_for.discard(engine_id)
        if result.failure is not None:
            call.failure = result.failure
        else:
            call.values.append(result.value)
        if not call.waiting_for:
            del self._calls[result.call_id]
            self._finish(call)

    def tick(self, now_s: float) -> None:
        """Fail calls that waited for an engine longer than the limit."""
        for call in [c for c in self._held if now_s - c.asked_at_s >= self._timeout_s]:
            self._held.remove(call)
            call.failure = f"no engine became available within {self._timeout_s:g} s"
            self._finish(call)

    def _send(self, call: _Call, engines: Collection[ReplicaId]) -> None:
        if not engines:
            self._held.append(call)
            return
        our_id = self._new_id()
        asked = sorted(engines)[:1] if rule_of(call.method).scope is Scope.ANY else engines
        call.waiting_for = set(asked)
        self._calls[our_id] = call
        for engine_id in asked:
            self._ask(engine_id, Utility(our_id, call.method, call.args))

    def _finish(self, call: _Call) -> None:
        if call.failure is not None:
            self._answer(Result(call.client_call_id, call.failure, None))
            return
        value, failure = None, None
        try:
            value = rule_of(call.method).reduce(call.values)
        except (TypeError, ValueError) as error:
            failure = f"the engines' answers to {call.method} do not combine: {error}"
        self.journal.record(call.method, call.args, value)
        self._answer(Result(call.client_call_id, failure, value))

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id
