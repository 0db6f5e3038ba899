"""The boundary between policy and mechanism: every value that crosses it.

`serve_app` builds snapshots from live state, `cluster` returns decisions; both are frozen, and no
framework type appears in them. The simulator builds the same snapshots from simulated state.

Units are in the names: `_tokens`, `_requests`, `_s` (seconds, monotonic clock), `_frac` (0 to 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol

ReplicaId = NewType("ReplicaId", str)

BlockHash = NewType("BlockHash", int)
"""64 bits that name a full KV block and every block before it; see `cluster.routing.block_hash`."""


class Rng(Protocol):
    """The randomness a policy may use; `random.Random` satisfies it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """Uniform integer in [0, stop)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What an engine's step takes: `base_s`, and so much more for each prompt token it prefills
    and for each request it decodes. Learnt from its steps by `cluster.routing.step_cost`."""

    base_s: float
    prefill_token_s: float
    decode_request_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """An engine's own view of its load, over all gateways, at one instant.

    `queued_prefill_tokens`: prompt tokens of its requests that are neither computed nor found in
    its cache. `decode_requests`: requests past their prefill. `received`: how many requests of the
    gateway that reads this it had received by then, since they connected.
    """

    running_requests: int = 0
    waiting_requests: int = 0
    decode_requests: int = 0
    queued_prefill_tokens: int = 0
    kv_use_frac: float = 0.0
    received: int = 0
    step_cost: StepCost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot:
    """One engine replica as the router sees it at one instant, for one request.

    `outstanding_tokens` and `inflight_requests` count what this gateway has sent and not seen end.
    The other loads are the engine's own last report, over all gateways, and what this gateway has
    sent since. `cached_tokens`: of this request's prompt, what the replica holds, or will hold by
    the time it gets there. `kv_total_tokens` is 0, and `step_cost` None, where it is unknown.
    """

    id: ReplicaId
    outstanding_tokens: int = 0
    inflight_requests: int = 0
    running_requests: int = 0
    waiting_requests: int = 0
    decode_requests: int = 0
    queued_prefill_tokens: int = 0
    kv_use_frac: float = 0.0
    kv_total_tokens: int = 0
    cached_tokens: int = 0
    step_cost: StepCost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """What the router may know of a request: its size and its blocks' names, never its text.

    `blocks` names the prompt's full blocks, first to last. `affinity_key` is what the client calls
    its session (a header, or `user`); None where it says nothing.
    """

    prompt_tokens: int
    max_output_tokens: int
    blocks: Sequence[BlockHash] = ()
    affinity_key: str | None = None


class RouteReason(StrEnum):
    """Why a replica was picked."""

    ONLY = "only"
    LEAST_LOADED = "least_loaded"
    TIE = "tie"
    LEAST_COST = "least_cost"  # of the predicted costs, where nothing cached tipped the balance
    CACHED = "cached"  # the least cost, because of what the replica holds
    TURN = "turn"  # whose turn it was
    RANDOM = "random"
    AFFINITY = "affinity"  # where its session, or its prefix, went before
    SPILLED = "spilled"  # that one had too much to do


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCost:
    """What a replica was expected to cost a request, in seconds.

    `ttft_s`: until its first token. `cost_s`: what all requests together would wait longer.
    """

    replica_id: ReplicaId
    ttft_s: float
    cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecision:
    """The picked replica, why, the load that decided it, and every replica's cost where the policy
    predicts one."""

    replica_id: ReplicaId
    reason: RouteReason
    candidates: int
    outstanding_tokens: int
    costs: Sequence[ReplicaCost] = ()
