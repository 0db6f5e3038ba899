"""What is known of one model at one instant: its engines, and what its gateways have counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.types import ReplicaId, StepCost


class EngineState(StrEnum):
    """Wanted but not up yet; serving; finishing what it has, then gone."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSignals:
    """One engine, by its own last report. The loads mean what they do in
    `cluster.types.LoadReport`.

    `kv_total_tokens` is 0, and `step_cost` None, where it is unknown. `cached_blocks`: KV blocks
    that a later request could find. An engine that is starting has nothing but id and state.
    """

    id: ReplicaId
    state: EngineState
    running_requests: int = 0
    waiting_requests: int = 0
    decode_requests: int = 0
    queued_prefill_tokens: int = 0
    kv_use_frac: float = 0.0
    kv_total_tokens: int = 0
    cached_blocks: int = 0
    step_cost: StepCost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySignals:
    """What one gateway has counted for the model since it started; only `held_requests` is of now.

    `requests`, `prompt_tokens`, `uncached_prompt_tokens`: of all that arrived, held ones too (their
    prompts count as not cached). `answered_requests` and `output_tokens`: of those that ended.
    `ttft_*`: requests that got a first token, and those that got it within the SLO; a request that
    failed without one counts in the total. `tpot_*`: the same of those that ended with 2 tokens or
    more. `ttft_sum_s`: of all their times to first token.
    """

    id: str
    requests: int = 0
    prompt_tokens: int = 0
    uncached_prompt_tokens: int = 0
    answered_requests: int = 0
    output_tokens: int = 0
    ttft_total: int = 0
    ttft_good: int = 0
    ttft_sum_s: float = 0.0
    tpot_total: int = 0
    tpot_good: int = 0
    held_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """`target`: how many engines were asked for last. `placeable`: how many the cluster has room
    for, those that are there included; None where that is not known, or has no bound."""

    engines: Sequence[EngineSignals]
    gateways: Sequence[GatewaySignals]
    target: int
    placeable: int | None = None

    @property
    def ready(self) -> list[EngineSignals]:
        return [engine for engine in self.engines if engine.state is EngineState.READY]

    @property
    def held_requests(self) -> int:
        return sum(gateway.held_requests for gateway in self.gateways)

    @property
    def ongoing_requests(self) -> int:
        """All that are not over: in engines, or held."""
        there = sum(engine.running_requests + engine.waiting_requests for engine in self.engines)
        return there + self.held_requests
