"""How many engines a load needs at the SLO, by what their steps cost.

An engine with x requests a second, of u uncached prompt tokens and o output tokens each, takes
steps of S seconds with o x S requests decoding (Little's law) and u x S prompt tokens:

    S = base_s + w x S,  w = prefill_token_s u + decode_request_s o      so   S = base_s / (1 - w x)

`w x` is its work, the share of time that is not the base. It is bounded by

    TPOT    S <= tpot_s                                   w x <= 1 - base_s / tpot_s
    KV      o x S (prompt tokens + o / 2) <= kv tokens    w x <= k w / (o base_s + k w), k = kv
                                                          tokens / (prompt tokens + o / 2)

A fleet of n engines with mean work F, and so much more that it is exceeded by chance in 1 -
attainment of all cases over the time of one answer (normal), needs

    n >= (F + z sqrt(error² + burst / answer_s)) / most work

And prompts have to be worked off in time, through bursts. With r the share of a step that prompt
tokens get while there is a queue, P = prefill's part of F and of the burst, the queue of a fluid
with Brownian noise is longer than d seconds with probability exp(-2 (n r - P) n r d / burst)
(J. M. Harrison, Brownian Motion and Stochastic Flow Systems, 1985, 1.9), which for 1 - attainment
is a quadratic in n r.

KV use itself appears nowhere: it is what an engine remembers, not what it has to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

from cluster.routing.added_latency import CHUNK_TOKENS, LEAST_TOKEN_S
from cluster.scaling.limits import Slo
from cluster.scaling.offered_load import Load
from cluster.types import StepCost

UNREACHABLE_WORK = 0.5
"""Where one step's base is above the TPOT already, no number of engines helps; half the time then
goes into requests, which is what steps of twice the base do."""

LEAST_WORK = 0.1
"""And where it is just below, no more than ten engines are taken for one's work."""

LEAST_SLACK_FRAC = 0.25
"""Of the TTFT, for waiting; where the mean prompt itself takes nearly all, others are shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCapacity:
    """One engine of a model, under a load's mix of requests. `most_work`: of 1. `prefill_frac`: of
    the time, for prompts while some queue. `step_s`: a step without prompt tokens, at `most_work`.
    `reachable`: whether TPOT can be met at all."""

    most_work: float
    prefill_frac: float
    step_s: float
    reachable: bool


def engine_capacity(load: Load, cost: StepCost, kv_tokens: int, slo: Slo) -> EngineCapacity:
    """`kv_tokens` is 0 where it is unknown, and then no bound."""
    reachable = cost.base_s < slo.tpot_s
    most = max(LEAST_WORK, 1.0 - cost.base_s / slo.tpot_s) if reachable else UNREACHABLE_WORK
    if kv_tokens:
        most = min(most, _kv_bound(load, cost, kv_tokens))
    mean_step_s = cost.base_s / (1.0 - most) if most < 1.0 else slo.tpot_s
    step_s = cost.base_s + (1.0 - load.prefill_frac) * most * mean_step_s
    chunk_s = CHUNK_TOKENS * max(cost.prefill_token_s, LEAST_TOKEN_S)
    return EngineCapacity(
        most_work=most,
        prefill_frac=chunk_s / (chunk_s + step_s),
        step_s=step_s,
        reachable=reachable,
    )


def engines_needed(load: Load, engine: EngineCapacity, cost: StepCost, slo: Slo) -> float:
    """Not rounded; rises with level, forecast, error and burst."""
    return max(_for_steps(load, engine, slo), _for_prompts(load, engine, cost, slo))


def drain_s(queued_tokens: float, engines: int, engine: EngineCapacity, cost: StepCost) -> float:
    """So long do these prompt tokens take on so many engines, if nothing else arrives."""
    return queued_tokens * cost.prefill_token_s / (max(1, engines) * engine.prefill_frac)


def engines_for_backlog(
    queued_tokens: float,
    coming: int,
    load: Load,
    engine: EngineCapacity,
    cost: StepCost,
    cold_start_s: float,
) -> float:
    """What is still queued after a cold start with the engines that are `coming`, and what arrives
    meanwhile, is worked off within another: so many engines. 0 where nothing is left then, since
    an engine that comes later than the queue ends is of no use to it."""
    arriving = load.forecast * load.prefill_frac
    queued = queued_tokens * cost.prefill_token_s
    left = queued + (arriving - coming * engine.prefill_frac) * cold_start_s
    if left <= 0.0:
        return 0.0
    return (arriving + left / cold_start_s) / engine.prefill_frac


def _kv_bound(load: Load, cost: StepCost, kv_tokens: int) -> float:
    output = max(1.0, load.output_tokens)
    fit = kv_tokens / (load.prompt_tokens + output / 2.0)
    work = cost.prefill_token_s * load.uncached_tokens + cost.decode_request_s * output
    return max(LEAST_WORK, fit * work / (output * cost.base_s + fit * work)) if work else 1.0


def _for_steps(load: Load, engine: EngineCapacity, slo: Slo) -> float:
    answer_s = max(slo.ttft_s, load.output_tokens * slo.tpot_s)
    deviation = sqrt(load.error**2 + load.burst / answer_s)
    likely = NormalDist().inv_cdf(slo.attainment_frac) * deviation
    return (load.forecast + likely) / engine.most_work


def _for_prompts(load: Load, engine: EngineCapacity, cost: StepCost, slo: Slo) -> float:
    own_s = load.uncached_tokens * cost.prefill_token_s / engine.prefill_frac + engine.step_s
    slack_s = max(slo.ttft_s - own_s, LEAST_SLACK_FRAC * slo.ttft_s)
    work = load.forecast * load.prefill_frac
    burst = load.burst * load.prefill_frac**2
    tail = log(1.0 / (1.0 - slo.attainment_frac))
    return (work + sqrt(work**2 + 2.0 * burst * tail / slack_s)) / 2.0 / engine.prefill_frac
