"""Engines as utility calls see them: asked, answering, coming and going."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.types import ReplicaId
from serve_app.utility_calls import UtilityCalls
from serve_app.wire import Result, Utility

TIMEOUT_S = 30.0


@dataclass
class Engines:
    """The engines that are ready, and what each was asked and not yet answered, oldest first."""

    ready: list[ReplicaId] = field(default_factory=list)
    open: dict[ReplicaId, list[Utility]] = field(default_factory=dict)
    asked: list[tuple[ReplicaId, str]] = field(default_factory=list)
    answers: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = UtilityCalls(self._ask, self.answers.append, TIMEOUT_S)

    def _ask(self, engine: ReplicaId, call: Utility) -> None:
        assert engine in self.ready, f"{call.method} was asked of {engine}, which is not ready"
        self.asked.append((engine, call.method))
        self.open.setdefault(engine, []).append(call)

    def call(self, call_id: int, method: str, *args: object, now_s: float = 0.0) -> None:
        self.calls.start(call_id, method, list(args), tuple(self.ready), now_s)

    def join(self, engine: ReplicaId) -> None:
        self.ready.append(engine)
        self.calls.engine_joined(engine, tuple(self.ready))

    def lose(self, engine: ReplicaId) -> None:
        self.ready.remove(engine)
        self.open.pop(engine, None)
        self.calls.engine_lost(engine, tuple(self.ready))

    def reply(self, engine: ReplicaId, value: object = None, failure: str | None = None) -> None:
        """The engine answers the oldest call it has not answered."""
        call = self.open[engine].pop(0)
        self.calls.result(engine, Result(call.call_id, failure, value))


def engines(*ready: ReplicaId) -> Engines:
    return Engines(ready=list(ready))
