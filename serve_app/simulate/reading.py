"""The files that `tokenfleet simulate` reads: traces, made-up workloads, measured engines.

ValueError
├ InputError                    a file is wrong: `file: key: what is wrong`
└ loadtest.traces.TraceError    a line of a trace is: `file:line: field: what is wrong`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.simulation import generator, traces
from cluster.simulation.generator import Groups
from cluster.simulation.step_time import Fitted, Observed, StepWork, fit
from cluster.simulation.workload import Workload
from loadtest.arrivals import Arrivals, instants_s
from loadtest.traces import MOONCAKE_TICK_S, read_trace, spread_ticks

KINDS: dict[str, Literal["mooncake", "azure", "made up"]] = {
    ".jsonl": "mooncake",
    ".csv": "azure",
    ".yaml": "made up",
    ".yml": "made up",
}

TokenS = Annotated[float, Field(ge=0)]


class InputError(ValueError):
    """`file` is wrong, as `message` says."""

    def __init__(self, file: Path, message: str) -> None:
        super().__init__(file, message)
        self.file, self.message = file, message

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


class MadeUp(BaseModel):
    """A made-up workload: sessions of `groups` begin as `arrivals` says, for `duration_s`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    duration_s: float = Field(gt=0)
    arrivals: Arrivals
    groups: Groups


class _Step(BaseModel):
    """One measured step; `context_tokens` is the KV that its decodes read."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prefill_tokens: int = Field(ge=0)
    decode_requests: int = Field(ge=0)
    context_tokens: int = Field(default=0, ge=0)
    step_s: float = Field(gt=0)


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid")

    steps: list[_Step] = Field(min_length=1)


class _StepCost(BaseModel):
    base: TokenS
    prefill_token: TokenS
    decode_request: TokenS


class _Engine(BaseModel):
    step_cost_s: _StepCost | None
    kv_total_tokens: int = Field(ge=0)


class _Model(BaseModel):
    name: str
    engines: list[_Engine]


class _FleetAnswer(BaseModel):
    """The part of `GET /fleet` that is read here."""

    models: list[_Model]


class _Coefficients(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    base_s: TokenS
    prefill_token_s: TokenS = 0.0
    decode_request_s: TokenS = 0.0
    context_token_s: TokenS = 0.0


def read_workload(
    path: Path,
    block_tokens: int,
    seed: int,
    requests: int | None,
    tick_s: float = MOONCAKE_TICK_S,
) -> Workload:
    """What arrives, only the first `requests`; `tick_s` is of Mooncake's. Raises OSError,
    InputError, TraceError, and ValueError for blocks that cannot be split."""
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise InputError(path, f"{path.suffix!r} is none of {', '.join(KINDS)}")
    if kind == "made up":
        return _made_up(path, block_tokens, seed, requests)
    recorded = read_trace(path, kind)
    notes = []
    if kind == "mooncake" and tick_s:
        recorded = spread_ticks(recorded, tick_s, seed)
        notes.append(
            f"arrivals, which the trace rounds to ticks of {tick_s:g} s, are spread at "
            f"random, evenly, over their tick, by seed {seed}"
        )
    return traces.workload(recorded[:requests], block_tokens, notes=notes)


def _made_up(path: Path, block_tokens: int, seed: int, requests: int | None) -> Workload:
    try:
        wanted = MadeUp.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise InputError(path, f"not YAML: {error}") from None
    except ValidationError as error:
        raise InputError(path, _said(error)) from None
    begin_s = instants_s(wanted.arrivals, wanted.duration_s, seed)
    sessions = None if requests is None else -(-requests // wanted.groups.turns)
    return generator.workload(wanted.groups, begin_s[:sessions], block_tokens, Random(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredEngine:
    """`kv_tokens` is None where the file does not say."""

    step_time: Fitted
    kv_tokens: int | None = None


def read_engine(path: Path) -> MeasuredEngine:
    """A measured engine: `{"steps": [...]}`, which are fitted, a fit's coefficients, or what
    `GET /fleet` of a running cluster answered, whose engines have learnt theirs. Raises OSError and
    InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = content.keys() if isinstance(content, dict) else ()
        if "models" in keys:
            return _live(path, _FleetAnswer.model_validate(content))
        if "steps" in keys:
            steps = _Measured.model_validate(content).steps
            return MeasuredEngine(step_time=fit([_observed(step) for step in steps]))
        return MeasuredEngine(
            step_time=Fitted(**_Coefficients.model_validate(content).model_dump())
        )
    except json.JSONDecodeError as error:
        raise InputError(path, f"not JSON: {error}") from None
    except ValidationError as error:
        raise InputError(path, _said(error)) from None


def _live(path: Path, fleet: _FleetAnswer) -> MeasuredEngine:
    """The mean of a model's engines."""
    if len(fleet.models) != 1:
        names = ", ".join(model.name for model in fleet.models)
        raise InputError(path, f"models: leave one in it, not {len(fleet.models)} ({names})")
    engines = fleet.models[0].engines
    costs = [engine.step_cost_s for engine in engines if engine.step_cost_s is not None]
    if not costs:
        raise InputError(path, "step_cost_s: no engine knows yet what its steps cost: ask it more")
    return MeasuredEngine(
        step_time=Fitted(
            base_s=fmean(cost.base for cost in costs),
            prefill_token_s=fmean(cost.prefill_token for cost in costs),
            decode_request_s=fmean(cost.decode_request for cost in costs),
        ),
        kv_tokens=min(engine.kv_total_tokens for engine in engines) or None,
    )


def _observed(step: _Step) -> Observed:
    work = StepWork(
        prefill_tokens=step.prefill_tokens,
        decode_requests=step.decode_requests,
        context_tokens=step.context_tokens,
    )
    return Observed(work, step.step_s)


def _said(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}, not {first['input']!r:.80}" if where else first["msg"]
