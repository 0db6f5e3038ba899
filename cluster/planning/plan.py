"""Plans for a model under a load: every layout that fits, with as many engines as the SLO needs.

How many, says what the live scaler goes by (`cluster.scaling.capacity`), for requests that come by
themselves: a burst of the work is one request's. No plan is made of guesses about prefixes: every
prompt counts as not cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from cluster.planning import InfeasibleError
from cluster.planning.memory import (
    GIB,
    MEMORY_BYTES,
    UTILIZATION,
    Memory,
    Placement,
    memory_of,
    requests_that_fit,
)
from cluster.planning.model_shape import ModelShape
from cluster.planning.speed import EngineSpeed
from cluster.scaling.capacity import EngineCapacity, engine_capacity, engines_needed
from cluster.scaling.limits import Slo
from cluster.scaling.offered_load import Load
from cluster.simulation.roofline import GPUS
from cluster.types import StepCost

PIPELINES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The load, in requests a second of so many tokens each, and what is there for it."""

    gpu: str
    gpus: int
    slo: Slo
    rate_per_s: float
    prompt_tokens: int
    output_tokens: int
    quantization: str = "none"
    kv_cache_dtype: str = "auto"

    @property
    def request_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`ttft_s`: of a request that waits for nobody; `tpot_s`: at the load; `most_requests`: of the
    load's length, in one engine's KV cache; `rate_per_s`: what one engine can take at the SLO."""

    placement: Placement
    replicas: int
    memory: Memory
    cost: StepCost
    ttft_s: float
    tpot_s: float
    most_requests: float
    rate_per_s: float

    @property
    def gpus(self) -> int:
        return self.replicas * self.placement.gpus


def plans(shape: ModelShape, wanted: Wanted) -> list[Plan]:
    """Cheapest first: by GPUs, then by the time to a first token. Raises InfeasibleError."""
    if wanted.request_tokens > shape.max_tokens:
        raise InfeasibleError(
            f"a request has {wanted.request_tokens} tokens, and the model's context "
            f"{shape.max_tokens}: shorter prompts or answers"
        )
    fitting = _fitting(shape, wanted)
    found = [plan for placement in fitting if (plan := _plan(shape, wanted, placement)) is not None]
    enough = [plan for plan in found if plan.gpus <= wanted.gpus]
    if not enough:
        raise InfeasibleError(_why_none(shape, wanted, fitting, found))
    return sorted(enough, key=lambda plan: (plan.gpus, plan.ttft_s))


def _fitting(shape: ModelShape, wanted: Wanted) -> list[Placement]:
    """Pipelines only as long as they must be."""
    for pp in PIPELINES:
        fitting = [
            placement
            for placement in _placements(shape, wanted, pp)
            if requests_that_fit(
                shape, placement, _memory(shape, wanted, placement), wanted.request_tokens
            )
            >= 1.0
        ]
        if fitting:
            return fitting
    raise InfeasibleError(_no_room(shape, wanted))


def _placements(shape: ModelShape, wanted: Wanted, pp: int) -> Iterator[Placement]:
    tp = 1
    while tp * pp <= wanted.gpus and pp <= shape.layers:
        if shape.heads % tp == 0:
            yield Placement(
                tp=tp,
                pp=pp,
                quantization=wanted.quantization,
                kv_cache_dtype=wanted.kv_cache_dtype,
            )
        tp *= 2


def _memory(shape: ModelShape, wanted: Wanted, placement: Placement) -> Memory:
    return memory_of(shape, placement, MEMORY_BYTES[wanted.gpu])


def _plan(shape: ModelShape, wanted: Wanted, placement: Placement) -> Plan | None:
    """None where its steps are too long for the SLO, however few requests there are."""
    memory = _memory(shape, wanted, placement)
    speed = EngineSpeed(shape, placement, GPUS[wanted.gpu])
    context = wanted.prompt_tokens + wanted.output_tokens / 2.0
    cost = speed.cost(context)
    ttft_s = _ttft_s(speed, wanted)
    load = _load(wanted, cost)
    fit = requests_that_fit(shape, placement, memory, wanted.request_tokens)
    engine = engine_capacity(load, cost, int(fit * wanted.request_tokens), wanted.slo)
    if ttft_s > wanted.slo.ttft_s or not engine.reachable:
        return None
    replicas = max(1, ceil(engines_needed(load, engine, cost, wanted.slo) - 1e-9))
    return Plan(
        placement=placement,
        replicas=replicas,
        memory=memory,
        cost=cost,
        ttft_s=ttft_s,
        tpot_s=_tpot_s(load, cost, replicas),
        most_requests=fit,
        rate_per_s=_rate_per_s(wanted, load, engine, replicas),
    )


def _ttft_s(speed: EngineSpeed, wanted: Wanted) -> float:
    return speed.step_s(prefill_tokens=wanted.prompt_tokens)


def _load(wanted: Wanted, cost: StepCost) -> Load:
    prefill = cost.prefill_token_s * wanted.prompt_tokens
    work = prefill + cost.decode_request_s * wanted.output_tokens
    level = wanted.rate_per_s * work
    return Load(
        level=level,
        forecast=level,
        error=0.0,
        burst=level * work,
        prefill_frac=prefill / work if work else 1.0,
        prompt_tokens=wanted.prompt_tokens,
        uncached_tokens=wanted.prompt_tokens,
        output_tokens=wanted.output_tokens,
    )


def _tpot_s(load: Load, cost: StepCost, replicas: int) -> float:
    """`S = base_s / (1 - w x)` of `cluster.scaling.capacity`."""
    return cost.base_s / max(1e-3, 1.0 - load.level / replicas)


def _rate_per_s(wanted: Wanted, load: Load, engine: EngineCapacity, replicas: int) -> float:
    return wanted.rate_per_s * engine.most_work / load.level if load.level else float(replicas)


# Why there is none


def _no_room(shape: ModelShape, wanted: Wanted) -> str:
    placement = Placement(
        tp=1, quantization=wanted.quantization, kv_cache_dtype=wanted.kv_cache_dtype
    )
    weights = _memory(shape, wanted, placement).weight_bytes / GIB
    room = wanted.gpus * MEMORY_BYTES[wanted.gpu] * UTILIZATION / GIB
    return (
        f"memory: {weights:.1f} GiB of weights and one request of {wanted.request_tokens} tokens "
        f"do not fit into {wanted.gpus} x {wanted.gpu} ({room:.1f} GiB may be used), in any layout "
        f"of powers of two: more GPUs, larger ones, or {_smaller(wanted)}"
    )


def _why_none(
    shape: ModelShape, wanted: Wanted, fitting: list[Placement], found: list[Plan]
) -> str:
    if found:
        least = min(found, key=lambda plan: plan.gpus)
        return (
            f"number: the load needs {least.gpus} x {wanted.gpu} at the least ({least.replicas} "
            f"engines of TP {least.placement.tp}), and there are {wanted.gpus}: more GPUs, a "
            f"longer TTFT or TPOT, or {_smaller(wanted)}"
        )
    widest = max(fitting, key=lambda placement: placement.tp)
    speed = EngineSpeed(shape, widest, GPUS[wanted.gpu])
    ttft_s, base_s = _ttft_s(speed, wanted), speed.cost(1.0).base_s
    if ttft_s > wanted.slo.ttft_s:
        return (
            f"TTFT: a prompt of {wanted.prompt_tokens} tokens takes {ttft_s:.2f} s at TP "
            f"{widest.tp}, alone on an engine, and may take {wanted.slo.ttft_s:g} s: a longer "
            f"TTFT, shorter prompts, more GPUs an engine, or {_smaller(wanted)}"
        )
    return (
        f"TPOT: a step takes {base_s * 1000:.0f} ms at TP {widest.tp} with a single request, and "
        f"may take {wanted.slo.tpot_s * 1000:g} ms: a longer TPOT, GPUs of more bandwidth, more of "
        f"them an engine, or {_smaller(wanted)}"
    )


def _smaller(wanted: Wanted) -> str:
    if wanted.quantization == "none":
        return "--quantization fp8 or w4a16"
    return "a smaller model"
