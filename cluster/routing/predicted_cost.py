"""The least predicted cost: where a request makes all requests together wait least.

`cluster.routing.added_latency` has the formula: the request's own latency, with what the replica
has queued and what it holds of the prompt, and what the request adds to that of all others there.

What decides is this cost and what the request's uncached tokens displace from the cache; what is
reported is the cost alone.

Near ties: costs are the same that differ by less than `TIE_FRAC` of what one more request like this
would add. Several gateways see the same reports, and what the others have sent since, and what has
ended, is in none; so they are the same up to what `UNSEEN_REQUESTS` more requests add, fewer where
other gateways have less than half of the work. Of replicas whose cost is the same, those are left
that hold the most of the prompt, within `TIE_FRAC` of it. Of these the one with the fewest
outstanding tokens of this gateway is picked, which tells gateways apart; and one at random where
these tie too.

Bound: a replica that had more than `LOAD_BOUND` times the mean of the work given lately gets no
credit for what it holds, nor does it win a near tie by it. It may still be the one with the least
to do. So requests with a hot prefix spread, the prefix is soon held by several replicas, and those
share it by load.

A replica whose steps are not known yet counts with the mean of the others' step costs; those about
as fast count as equally fast (`cluster.routing.fleet_step_costs`). Where none is known, this is
least load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import fsum
from typing import overload

import numpy as np

from cluster.routing.added_latency import AddedLatency
from cluster.routing.fleet_step_costs import Floats, alike, step_costs
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.routing.work_share import WorkShare
from cluster.types import (
    ReplicaCost,
    ReplicaId,
    ReplicaSnapshot,
    Rng,
    RouteDecision,
    RouteReason,
    RouteRequest,
)

TIE_FRAC = 0.05
"""Of the cost that one request adds: less is within the error of any prediction."""

UNSEEN_REQUESTS = 4.0
"""By so many does the number at one replica differ from what its last report lets expect, where at
least half of the work is others'. With engines that report four times a second, 2 gateways and
nothing shared, the 90th percentile of the TTFT was 2 to 2.8 times that of least load where this was
0.5. From 2 on it was no longer for requests all alike; for sizes that scatter as in Azure's trace
it was 1.4 times with 2 and 1.1 with 4. With 6, queues are longer again: 12 gateways."""

LOAD_BOUND = 1.25
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
        own_costs = step_costs(replicas)
        if own_costs is None:
            return self._cold.choose(request, replicas, rng)
        ids = [replica.id for replica in replicas]
        decoding = fsum(replica.decode_requests for replica in replicas) / len(replicas)
        costs = alike(own_costs, decoding)
        added = AddedLatency(request, replicas, costs, typical_output_tokens)
        offers = _Offers(added, self._given.shares(ids))
        tied = _fewest_outstanding(replicas, offers.near())
        index = tied[rng.randrange(len(tied))] if len(tied) > 1 else tied[0]
        # Work is tokens computed, in the engine's own time for them: engines differ.
        tokens = added.uncached_tokens[index] + request.max_output_tokens
        self._given.add(ids[index], float(tokens * added.token_s[index]), ids)
        return RouteDecision(
            replica_id=ids[index],
            reason=offers.reason(index),
            candidates=len(replicas),
            outstanding_tokens=replicas[index].outstanding_tokens,
            costs=offers.costs(ids),
        )

    def _seen(self, request: RouteRequest) -> float:
        """The typical output, with this request's."""
        output_tokens = float(max(1, request.max_output_tokens))
        if self._typical_output_tokens is None:
            self._typical_output_tokens = output_tokens
        change = output_tokens - self._typical_output_tokens
        self._typical_output_tokens += change / OUTPUT_MEMORY_REQUESTS
        return self._typical_output_tokens


def _fewest_outstanding(replicas: Sequence[ReplicaSnapshot], among: Sequence[int]) -> list[int]:
    fewest = min(replicas[index].outstanding_tokens for index in among)
    return [index for index in among if replicas[index].outstanding_tokens == fewest]


class _Offers:
    """What one request would cost on each replica, and which of the costs count as the least.

    `shares`: each replica's work as a multiple of the mean.
    """

    def __init__(self, added: AddedLatency, shares: Sequence[float]) -> None:
        self._ttfts_s, self._costs_s = added.predict(added.uncached_tokens)
        self._uncached_tokens = added.uncached_tokens
        self._prompt_tokens = added.prompt_tokens
        self._wanted_s = self._costs_s + added.displaced(added.uncached_tokens)
        whole_prompt = np.full_like(self._costs_s, self._prompt_tokens)
        self._without_cache_s = added.predict(whole_prompt)[1] + added.displaced(whole_prompt)
        no_credit = np.asarray(shares) > LOAD_BOUND
        self._deciding_s = np.where(no_credit, self._without_cache_s, self._wanted_s)
        self._deciding_tokens = np.where(no_credit, self._prompt_tokens, self._uncached_tokens)
        least_s = self._deciding_s.min()
        one_more_s = added.of_one_more()[self._deciding_s == least_s].min()
        unseen_requests = UNSEEN_REQUESTS * min(1.0, 2.0 * added.others_frac)
        self._slack_s = float(one_more_s) * max(TIE_FRAC, unseen_requests)
        self._near = self._deciding_s <= least_s + self._slack_s

    def near(self) -> list[int]:
        """Those whose cost counts as the least, and of them those that hold as much as any: what an
        engine holds is certain, what others send it at this instant is not."""
        near = self._near.nonzero()[0]
        tokens = self._deciding_tokens[near]
        indices: list[int] = near[tokens <= tokens.min() + TIE_FRAC * self._prompt_tokens].tolist()
        return indices

    def reason(self, picked: int) -> RouteReason:
        if len(self._costs_s) == 1:
            return RouteReason.ONLY
        if self._wanted_s[picked] > self._wanted_s.min() + self._slack_s:
            return RouteReason.SPILLED
        if self._cache_decided(picked):
            return RouteReason.CACHED
        return RouteReason.TIE if self._near.sum() > 1 else RouteReason.LEAST_COST

    def _cache_decided(self, picked: int) -> bool:
        """Whether a replica that is left out would be as good if none held anything."""
        if self._uncached_tokens[picked] == self._prompt_tokens:
            return False
        others_s = self._without_cache_s[~self._near]
        return bool((others_s <= self._without_cache_s[picked] + self._slack_s).any())

    def costs(self, ids: Sequence[ReplicaId]) -> Sequence[ReplicaCost]:
        return _Costs(ids, self._ttfts_s, self._costs_s)


class _Costs(Sequence[ReplicaCost]):
    """Made only when read, which one decision in many is: 100 take as long as half of a choice."""

    def __init__(self, ids: Sequence[ReplicaId], ttfts_s: Floats, costs_s: Floats) -> None:
        self._columns = (ids, ttfts_s, costs_s)

    @cached_property
    def _made(self) -> tuple[ReplicaCost, ...]:
        ids, ttfts_s, costs_s = self._columns
        return tuple(
            ReplicaCost(replica_id=replica_id, ttft_s=ttft_s, cost_s=cost_s)
            for replica_id, ttft_s, cost_s in zip(
                ids, ttfts_s.tolist(), costs_s.tolist(), strict=True
            )
        )

    def __len__(self) -> int:
        return len(self._columns[0])

    @overload
    def __getitem__(self, index: int) -> ReplicaCost: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ReplicaCost]: ...
    def __getitem__(self, index: int | slice) -> ReplicaCost | Sequence[ReplicaCost]:
        return self._made[index]

    def __iter__(self) -> Iterator[ReplicaCost]:
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made == tuple(other)

    def __hash__(self) -> int:
        return hash(self._made)
