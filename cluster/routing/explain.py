"""A routing decision in words and numbers: the answer of `POST /fleet/explain`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.routing import Router
from cluster.types import (
    ReplicaCost,
    ReplicaId,
    ReplicaSnapshot,
    Rng,
    RouteDecision,
    RouteReason,
    RouteRequest,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """A replica as it was seen for this request; see `cluster.types.ReplicaSnapshot`.

    The predictions are None where the policy makes none.
    """

    replica_id: ReplicaId
    cached_tokens: int
    outstanding_tokens: int
    running_requests: int
    waiting_requests: int
    queued_prefill_tokens: int
    kv_use_frac: float
    predicted_ttft_s: float | None
    predicted_cost_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Who won, why, and every candidate, in the order in which they were given."""

    winner: ReplicaId
    reason: RouteReason
    sentence: str
    prompt_tokens: int
    max_output_tokens: int
    engines: tuple[EngineView, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as objects, arrays, strings and numbers."""
        return {
            **asdict(self),
            "reason": self.reason.value,
            "engines": list(map(asdict, self.engines)),
        }


def would_choose(
    router: Router, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
) -> RouteDecision:
    """What `router` would decide now, if it were asked; it does not notice that it was."""
    return copy.deepcopy(router).choose(request, replicas, rng)


def explain(
    request: RouteRequest, replicas: Sequence[ReplicaSnapshot], decision: RouteDecision
) -> Explanation:
    """`decision` is on `request` and `replicas`. Raises KeyError if it names none of them."""
    costs = {cost.replica_id: cost for cost in decision.costs}
    by_id = {replica.id: replica for replica in replicas}
    facts = _Facts(
        request=request, winner=by_id[decision.replica_id], candidates=len(replicas), costs=costs
    )
    return Explanation(
        winner=decision.replica_id,
        reason=decision.reason,
        sentence=SENTENCES[decision.reason](facts),
        prompt_tokens=request.prompt_tokens,
        max_output_tokens=request.max_output_tokens,
        engines=tuple(_view(replica, costs.get(replica.id)) for replica in replicas),
    )


def _view(replica: ReplicaSnapshot, cost: ReplicaCost | None) -> EngineView:
    return EngineView(
        replica_id=replica.id,
        cached_tokens=replica.cached_tokens,
        outstanding_tokens=replica.outstanding_tokens,
        running_requests=replica.running_requests,
        waiting_requests=replica.waiting_requests,
        queued_prefill_tokens=replica.queued_prefill_tokens,
        kv_use_frac=replica.kv_use_frac,
        predicted_ttft_s=cost.ttft_s if cost else None,
        predicted_cost_s=cost.cost_s if cost else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the sentences speak of."""

    request: RouteRequest
    winner: ReplicaSnapshot
    candidates: int
    costs: Mapping[ReplicaId, ReplicaCost]

    @property
    def name(self) -> str:
        return self.winner.id

    @property
    def load(self) -> str:
        return f"{self.winner.outstanding_tokens} outstanding tokens of this gateway"

    @property
    def price(self) -> str:
        """The winner's cost, and the least of the others'."""
        mine = self.costs[self.winner.id]
        text = f"{mine.cost_s:.3f} s over all requests, the first token after {mine.ttft_s:.3f} s"
        next_best = self._next_best
        if next_best is None:
            return text
        return f"{text} ({next_best.replica_id}: {next_best.cost_s:.3f} s)"

    @property
    def _next_best(self) -> ReplicaCost | None:
        others = [cost for cost in self.costs.values() if cost.replica_id != self.winner.id]
        return min(others, key=lambda cost: cost.cost_s, default=None)

    @property
    def counted(self) -> str:
        """What decided beside the costs, where by them alone another one would have won."""
        next_best = self._next_best
        if next_best is None or next_best.cost_s >= self.costs[self.winner.id].cost_s:
            return ""
        return ", counting near ties and what the prompt displaces from caches"


def _tie(facts: _Facts) -> str:
    if facts.costs:
        return (
            f"{facts.name} is one of those whose predicted cost counts as the least: {facts.price}."
        )
    return f"{facts.name} is one of those with the fewest, {facts.load}, drawn at random."


def _spilled(facts: _Facts) -> str:
    if facts.costs:
        return (
            "A replica that holds more of the prompt was given more than its share of the work "
            f"lately; of the others, {facts.name} costs the least: {facts.price}."
        )
    return (
        "The replica where this session or this prompt belongs has too much to do; the next is "
        f"{facts.name}, with {facts.load}."
    )


SENTENCES: Mapping[RouteReason, Callable[[_Facts], str]] = {
    RouteReason.ONLY: lambda f: f"{f.name} is the only replica that may take the request.",
    RouteReason.LEAST_LOADED: lambda f: f"{f.name} has the fewest of those compared: {f.load}.",
    RouteReason.TIE: _tie,
    RouteReason.LEAST_COST: lambda f: (
        f"{f.name} has the least predicted cost{f.counted}: {f.price}."
    ),
    RouteReason.CACHED: lambda f: (
        f"{f.name} holds {f.winner.cached_tokens} of the {f.request.prompt_tokens} prompt tokens, "
        f"which makes its predicted cost the least{f.counted}: {f.price}."
    ),
    RouteReason.TURN: lambda f: f"It is the turn of {f.name}, of {f.candidates} replicas.",
    RouteReason.RANDOM: lambda f: f"{f.name} was drawn at random from {f.candidates} replicas.",
    RouteReason.AFFINITY: lambda f: (
        f"This session, or the start of this prompt, belongs to {f.name}, which has room for it: "
        f"{f.load}."
    ),
    RouteReason.SPILLED: _spilled,
}
