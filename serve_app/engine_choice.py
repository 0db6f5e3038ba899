"""Which engine a request goes to: asks the router, tells it what it may know, explains it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy

from vllm.v1.engine import EngineCoreRequest

from cluster.routing import Router
from cluster.routing.explain import Explanation, explain, would_choose
from cluster.routing.fleet_view import FleetView
from cluster.types import ReplicaId, ReplicaSnapshot, Rng, RouteDecision, RouteRequest
from serve_app import resume
from serve_app.flights import Flight
from serve_app.switch_engines import Engine
from serve_app.switch_measures import SwitchMeasures

OnDecision = Callable[[RouteRequest, Sequence[ReplicaSnapshot], RouteDecision], None]
"""Told of every decision, and of what it was made on."""

REMEMBERED_DECISIONS = 8

_NOTHING = RouteRequest(prompt_tokens=0, max_output_tokens=0)


class EngineChoice:
    """Over `view`, which the switch keeps. Every engine that is asked about must be in it."""

    def __init__(
        self,
        view: FleetView,
        router: Router,
        rng: Rng,
        on_decision: OnDecision | None,
        measures: SwitchMeasures,
    ) -> None:
        self._measures = measures
        self._view, self._router, self._rng = view, router, rng
        self._on_decision = on_decision
        self._last: deque[tuple[RouteRequest, Sequence[ReplicaSnapshot], RouteDecision]] = deque(
            maxlen=REMEMBERED_DECISIONS
        )

    def choose(
        self, flight: Flight, able: Sequence[Engine]
    ) -> tuple[RouteRequest, ReplicaSnapshot]:
        """What the router was asked, and the engine that it picked, as it was then."""
        began_s = time.perf_counter()
        size = _size(flight.request, able[0], flight.emitted)
        seen = self._seen(size, able)
        decision = self._router.choose(size, seen, self._rng)
        self._measures.decision_s += time.perf_counter() - began_s
        self._last.append((size, seen, decision))
        if self._on_decision is not None:
            self._on_decision(size, seen, decision)
        picked = next(snapshot for snapshot in seen if snapshot.id == decision.replica_id)
        self._measures.decisions[decision.reason.value] += 1
        self._measures.routed_tokens += size.prompt_tokens
        self._measures.hit_tokens += picked.cached_tokens
        return size, picked

    def last_decisions(self) -> list[Explanation]:
        """The last ones in words, newest last."""
        return [explain(*each) for each in self._last]

    def explain(self, request: EngineCoreRequest, able: Sequence[Engine]) -> Explanation:
        """Where the request would go now, and why. Nobody notices that it was asked."""
        size = _size(request, able[0])
        seen = self._seen(size, able)
        return explain(size, seen, would_choose(self._router, size, seen, deepcopy(self._rng)))

    def outstanding_tokens(self, engines: Sequence[Engine]) -> dict[ReplicaId, int]:
        """What each engine has to do for this gateway."""
        return {seen.id: seen.outstanding_tokens for seen in self._seen(_NOTHING, engines)}

    def _seen(self, size: RouteRequest, engines: Sequence[Engine]) -> list[ReplicaSnapshot]:
        return self._view.snapshots(size, [engine.id for engine in engines])


def _size(request: EngineCoreRequest, engine: Engine, emitted: Sequence[int] = ()) -> RouteRequest:
    """What the router may know of a request; all engines of a model have blocks of one size."""
    return resume.route_request(request, engine.ready.block_tokens, emitted)
