"""The least predicted cost: where a request makes all requests together wait least.

`cluster.routing.added_latency` has the formula: the request's own latency, with what the replica
has queued and what it holds of the prompt, and what the request adds to that of all others there.

Ties: costs are the same that differ by less than `TIE_FRAC` of what one more request like this
would add; one of them is picked at random. Several gateways see the same reports, and what the
others send at this instant is in none. So costs count as the same in the measure that other
gateways are at work: up to what one more request adds, where nearly all are theirs.

Bound: a replica that had more than `LOAD_BOUND` times the mean of the work given lately gets no
credit for what it holds. It may still be the one with the least to do. So requests with a hot
prefix spread, the prefix is soon held by several replicas, and those share it by load.

A replica whose steps are not known yet counts with the mean of the others' step costs. Where none
is known, this is least load.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.routing.added_latency import (
    AddedLatency,
    added_latency,
    known_step_cost,
    requests_there,
    uncached,
)
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.routing.work_share import WorkShare
from cluster.types import (
    ReplicaCost,
    ReplicaSnapshot,
    Rng,
    RouteDecision,
    RouteReason,
    RouteRequest,
    StepCost,
)

TIE_FRAC = 0.05
"""Of the cost that one request adds: less is within the error of any prediction."""

LOAD_BOUND = 1.2
"""Times the mean work. Below the 1.3 that is promised, since the tally follows with some delay."""

OUTPUT_MEMORY_REQUESTS = 100
"""Requests after which an output counts 1/e in the typical one."""


class PredictedCost:
    """A `cluster.routing.Router` over the engines' reports and `ReplicaSnapshot.cached_tokens`."""

    def __init__(self) -> None:
        self._cold = LeastOutstandingTokens()
        self._given = WorkShare()
        self._typical_output_tokens: float | None = None

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision:
        typical_output_tokens = self._seen(request)
        mean_cost = known_step_cost(replicas)
        if mean_cost is None:
            return self._cold.choose(request, replicas, rng)
        ids = [replica.id for replica in replicas]
        step_costs = [replica.step_cost or mean_cost for replica in replicas]
        offers = _Offers(
            request, replicas, step_costs, typical_output_tokens, self._given.shares(ids)
        )
        near = offers.near()
        index = near[rng.randrange(len(near))] if len(near) > 1 else near[0]
        # Work is tokens computed, in the engine's own time for them: engines differ.
        tokens = uncached(request, replicas[index].cached_tokens) + request.max_output_tokens
        self._given.add(ids[index], tokens * step_costs[index].prefill_token_s, ids)
        return RouteDecision(
            replica_id=ids[index],
            reason=offers.reason(index, tied=len(near) > 1),
            candidates=len(replicas),
            outstanding_tokens=replicas[index].outstanding_tokens,
            costs=offers.costs(),
        )

    def _seen(self, request: RouteRequest) -> float:
        """The typical output, with this request's."""
        output_tokens = float(max(1, request.max_output_tokens))
        if self._typical_output_tokens is None:
            self._typical_output_tokens = output_tokens
        change = output_tokens - self._typical_output_tokens
        self._typical_output_tokens += change / OUTPUT_MEMORY_REQUESTS
        return self._typical_output_tokens


class _Offers:
    """What one request would cost on each replica, in the order of the replicas."""

    def __init__(
        self,
        request: RouteRequest,
        replicas: Sequence[ReplicaSnapshot],
        step_costs: Sequence[StepCost],
        typical_output_tokens: float,
        shares: Sequence[float],
    ) -> None:
        def offer(index: int, uncached_tokens: int) -> AddedLatency:
            return added_latency(
                replicas[index],
                step_costs[index],
                uncached_tokens,
                request.max_output_tokens,
                typical_output_tokens,
            )

        self._replicas = replicas
        self._prompt_tokens = uncached(request, 0)
        self._uncached = [uncached(request, replica.cached_tokens) for replica in replicas]
        self._offers = [offer(index, tokens) for index, tokens in enumerate(self._uncached)]
        self._costs_s = [each.cost_s for each in self._offers]
        self._deciding_s = list(self._costs_s)
        for index, share in enumerate(shares):
            if share > LOAD_BOUND and self._uncached[index] < self._prompt_tokens:
                self._deciding_s[index] = offer(index, self._prompt_tokens).cost_s
        self._least_s = min(self._deciding_s)
        best = self._offers[self._deciding_s.index(self._least_s)]
        self._slack_s = best.like_s * max(TIE_FRAC, _others_frac(replicas))

    def near(self) -> list[int]:
        """Those whose cost counts as the least."""
        most_s = self._least_s + self._slack_s
        return [index for index, cost_s in enumerate(self._deciding_s) if cost_s <= most_s]

    def reason(self, picked: int, *, tied: bool) -> RouteReason:
        if len(self._replicas) == 1:
            return RouteReason.ONLY
        if self._costs_s[picked] > min(self._costs_s) + self._slack_s:
            return RouteReason.SPILLED
        if self._cache_decided(picked):
            return RouteReason.CACHED
        return RouteReason.TIE if tied else RouteReason.LEAST_COST

    def _cache_decided(self, picked: int) -> bool:
        """Whether it would cost more than another if none held anything (and KV was not short)."""
        if self._uncached[picked] == self._prompt_tokens:
            return False
        without_s = [
            each.cost_s + (self._prompt_tokens - tokens) * each.uncached_token_s
            for each, tokens in zip(self._offers, self._uncached, strict=True)
        ]
        return without_s[picked] > min(without_s) + self._slack_s

    def costs(self) -> tuple[ReplicaCost, ...]:
        return tuple(
            ReplicaCost(replica_id=replica.id, ttft_s=offer.ttft_s, cost_s=offer.cost_s)
            for replica, offer in zip(self._replicas, self._offers, strict=True)
        )


def _others_frac(replicas: Sequence[ReplicaSnapshot]) -> float:
    """How much of what the engines have to do came from other gateways."""
    total = sum(requests_there(replica) for replica in replicas)
    own = sum(replica.inflight_requests for replica in replicas)
    return 1.0 - own / total if total else 0.0
