"""What came of a simulated run, as numbers that go into JSON.

    name             formula                                              over
    ttft_s           first token - arrival                                requests that began
    tpot_s           (end - first token) / (output tokens - 1)            done, of 2 tokens or more
    e2e_s            end - arrival                                        requests done
    hit_frac         prompt tokens found in cache / prompt tokens         requests that began
    completed_rps    requests done / (last end - first arrival)           all
    output_tokens_per_s   the same of their output tokens                 all
    imbalance        max / mean over engines of tokens computed (prefill and decode), of those of
                     prefill alone, and of busy time; 1 is perfect, None where nothing was done

Latencies are the same as a load test's (`loadtest/metrics.py`), percentiles nearest-rank. The
cached tokens of a request are those of its first admission: what a preemption has to compute anew,
or finds again, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np

from cluster.scaling.limits import Slo
from cluster.simulation.records import Record, Run, Sample
from cluster.simulation.scaling_result import ScalingResult, scaling_result

SCHEMA_VERSION = 1
CURVE_POINTS = 200
TIMELINE_BINS = 60

Floats = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds; None where `n` is 0."""

    n: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    tokens: float | None
    prefill_tokens: float | None
    busy_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """By bin: its middle, output tokens a second of requests that ended in it, hit rate of those
    that began in it, imbalance of the tokens computed in it; None where there are none."""

    at_s: Floats
    output_tokens_per_s: Floats
    hit_frac: Sequence[float | None]
    imbalance: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One policy's run. requests = done + failed + in_flight. `ttft_curve_s`: so many values of
    TTFT at equal steps from the least to the largest rank, for a distribution's plot."""

    policy: str
    requests: int
    done: int
    failed: int
    in_flight: int
    preemptions: int
    span_s: float
    completed_rps: float
    output_tokens_per_s: float
    hit_frac: float | None
    ttft_s: Latency
    tpot_s: Latency
    e2e_s: Latency
    imbalance: Imbalance
    engine_tokens: Sequence[int] = field(repr=False)
    engine_prefill_tokens: Sequence[int] = field(repr=False)
    ttft_curve_s: Floats = field(repr=False)
    timeline: Timeline = field(repr=False)
    scaling: ScalingResult | None = field(default=None, repr=False)


def result(policy: str, run: Run, slo: Slo | None = None) -> Result:
    """With an SLO also what came of it, and of the engines' number."""
    records, last = run.records, run.samples[-1]
    began = [r for r in records if r.first_token_s is not None]
    done = [r for r in records if r.end_s is not None]
    failed = sum(r.failed is not None for r in records)
    span_s = _span_s(done)
    ttfts_s = _known(r.ttft_s for r in began)
    return Result(
        policy=policy,
        requests=len(records),
        done=len(done),
        failed=failed,
        in_flight=len(records) - len(done) - failed,
        preemptions=sum(r.preemptions for r in records),
        span_s=span_s,
        completed_rps=len(done) / span_s if span_s else 0.0,
        output_tokens_per_s=sum(r.output_tokens for r in done) / span_s if span_s else 0.0,
        hit_frac=_hit_frac(began),
        ttft_s=latency(ttfts_s),
        tpot_s=latency(_known(r.tpot_s for r in done)),
        e2e_s=latency(_known(r.e2e_s for r in done)),
        imbalance=Imbalance(
            tokens=imbalance(last.tokens),
            prefill_tokens=imbalance(last.prefill_tokens),
            busy_s=imbalance(last.busy_s),
        ),
        engine_tokens=last.tokens,
        engine_prefill_tokens=last.prefill_tokens,
        ttft_curve_s=_curve(ttfts_s),
        timeline=_timeline(run),
        scaling=scaling_result(run, slo) if slo else None,
    )


def document(results: Iterable[Result], **about: Any) -> dict[str, Any]:
    """JSON: the results of several policies, and what else `about` says of the runs."""
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "results": [asdict(each) for each in results],
    }


def latency(values_s: Floats) -> Latency:
    if not values_s:
        return Latency(n=0)
    ordered = np.sort(values_s)
    p50, p90, p99 = np.percentile(ordered, (50, 90, 99), method="inverted_cdf")  # nearest rank
    return Latency(
        n=len(ordered),
        mean=float(ordered.mean()),
        p50=float(p50),
        p90=float(p90),
        p99=float(p99),
    )


def imbalance(done: Floats) -> float | None:
    """Max over mean; None where nothing was done."""
    total = sum(done)
    return max(done) * len(done) / total if total else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _span_s(done: Sequence[Record]) -> float:
    """From the first arrival to the last end, of those done."""
    if not done:
        return 0.0
    return max(_known(r.end_s for r in done)) - min(r.arrival_s for r in done)


def _hit_frac(began: Iterable[Record]) -> float | None:
    prompt = cached = 0
    for record in began:
        prompt += record.prompt_tokens
        cached += record.cached_tokens
    return cached / prompt if prompt else None


def _curve(values_s: Floats) -> list[float]:
    if not values_s:
        return []
    ranks = np.linspace(0, len(values_s) - 1, min(CURVE_POINTS, len(values_s))).round()
    return [float(value) for value in np.sort(values_s)[ranks.astype(int)]]


def _timeline(run: Run) -> Timeline:
    end_s = run.samples[-1].at_s
    edges_s = np.linspace(0.0, end_s, TIMELINE_BINS + 1) if end_s else np.array([0.0, 1.0])
    began = _binned(run.records, edges_s, lambda r: r.first_token_s)
    ended = _binned(run.records, edges_s, lambda r: r.end_s)
    widths_s = np.diff(edges_s)
    return Timeline(
        at_s=[float(middle) for middle in (edges_s[:-1] + edges_s[1:]) / 2],
        output_tokens_per_s=[
            sum(r.output_tokens for r in records) / float(width_s)
            for records, width_s in zip(ended, widths_s, strict=True)
        ],
        hit_frac=[_hit_frac(records) for records in began],
        imbalance=_imbalances(run.samples, edges_s),
    )


def _binned(
    records: Iterable[Record],
    edges_s: np.typing.NDArray[np.float64],
    instant_s: Callable[[Record], float | None],
) -> list[list[Record]]:
    bins: list[list[Record]] = [[] for _ in edges_s[1:]]
    for record in records:
        at_s = instant_s(record)
        if at_s is not None:
            place = int(np.searchsorted(edges_s, at_s, side="right")) - 1
            bins[min(place, len(bins) - 1)].append(record)
    return bins


def _imbalances(
    samples: Sequence[Sample], edges_s: np.typing.NDArray[np.float64]
) -> list[float | None]:
    """Of what was computed between the samples next before the edges."""
    instants_s = [sample.at_s for sample in samples]
    places = np.maximum(0, np.searchsorted(instants_s, edges_s, side="right") - 1)
    return [
        imbalance([late - early for early, late in zip_longest(one, other, fillvalue=0)])
        for one, other in pairwise(samples[int(place)].tokens for place in places)
    ]
