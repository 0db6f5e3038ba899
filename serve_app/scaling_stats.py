"""What replicas report for scaling, as Serve carries it: a flat {text: number} for each replica.

Serve has keys of its own there (`running_requests` for one), so ours begin with `PREFIX`:

    an engine    PREFIX + a field of `EngineSignals`; a step's cost as three numbers, once known
    a gateway    PREFIX + model + "/" + a field of `GatewaySignals` or `ModelStats`
                 PREFIX + a field of `GatewayLoad`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cluster.scaling.gateway_scaler import GatewayLoad
from cluster.scaling.signals import EngineSignals, EngineState, GatewaySignals
from cluster.types import LoadReport, ReplicaId, StepCost

PREFIX = "tokenfleet/"

Stats = Mapping[str, float]

_LOAD = ("running_requests", "waiting_requests", "decode_requests", "queued_prefill_tokens")
_ENGINE = (*_LOAD, "kv_use_frac", "kv_total_tokens", "cached_blocks")
_COST = ("base_s", "prefill_token_s", "decode_request_s")
_COUNTED = tuple(each.name for each in fields(GatewaySignals) if each.name != "id")
_BUILT = "built"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStats:
    """One gateway's word on one model. `built`: its API server is there, as it is for good once the
    gateway has met an engine."""

    signals: GatewaySignals
    built: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStats:
    """All that one gateway says; its models by name."""

    load: GatewayLoad
    models: Mapping[str, ModelStats] = field(default_factory=dict)


def engine_stats(load: LoadReport, kv_total_tokens: int, cached_blocks: int) -> dict[str, float]:
    """What an engine says."""
    said: dict[str, float] = {PREFIX + name: getattr(load, name) for name in _LOAD}
    said[PREFIX + "kv_use_frac"] = load.kv_use_frac
    said[PREFIX + "kv_total_tokens"] = kv_total_tokens
    said[PREFIX + "cached_blocks"] = cached_blocks
    if load.step_cost is not None:
        said |= {PREFIX + name: getattr(load.step_cost, name) for name in _COST}
    return said


def engine_signals(engine: str, said: Stats) -> EngineSignals:
    """A serving engine; one that has said nothing yet has nothing to do."""
    given: dict[str, Any] = {name: said[PREFIX + name] for name in _ENGINE if PREFIX + name in said}
    cost = {name: said[PREFIX + name] for name in _COST if PREFIX + name in said}
    return EngineSignals(
        id=ReplicaId(engine),
        state=EngineState.READY,
        step_cost=StepCost(**cost) if len(cost) == len(_COST) else None,
        **given,
    )


def gateway_stats(stats: GatewayStats) -> dict[str, float]:
    """What a gateway says."""
    said: dict[str, float] = {PREFIX + "streams": stats.load.streams}
    if stats.load.loop_lag_s is not None:
        said[PREFIX + "loop_lag_s"] = stats.load.loop_lag_s
    for name, model in stats.models.items():
        said |= {f"{PREFIX}{name}/{each}": getattr(model.signals, each) for each in _COUNTED}
        said[f"{PREFIX}{name}/{_BUILT}"] = int(model.built)
    return said


def gateway_said(gateway: str, said: Stats) -> GatewayStats | None:
    """The same, read again; None where it is no report of a gateway."""
    if PREFIX + "streams" not in said:
        return None
    ends = f"/{_BUILT}"
    names = [
        key.removeprefix(PREFIX).removesuffix(ends)
        for key in said
        if key.startswith(PREFIX) and key.endswith(ends)
    ]
    load = GatewayLoad(
        streams=int(said[PREFIX + "streams"]), loop_lag_s=said.get(PREFIX + "loop_lag_s")
    )
    models = {name: _model_said(gateway, f"{PREFIX}{name}/", said) for name in names}
    return GatewayStats(load=load, models=models)


def _model_said(gateway: str, prefix: str, said: Stats) -> ModelStats:
    counted: dict[str, Any] = {name: said.get(prefix + name, 0) for name in _COUNTED}
    signals = GatewaySignals(id=gateway, **counted)
    return ModelStats(signals=signals, built=bool(said[prefix + _BUILT]))
