"""Whether a run may be judged at all: was it the server that was measured, and often enough?

    load generator    it says itself that the run is not whole: a worker was lost, it was stopped
    client-limited    the client sent late, so what it calls TTFT leaves part of the wait out
    no faults         the scenario has faults, and none was done
    too few samples   one request more or less would decide a clause of the SLO

A percentile with fewer than 1 / (1 - p) samples is, by nearest rank, the greatest of them: n < 100
for a p99. So one bad request would be a breach, and its lack would prove nothing. The same holds of
an attainment that fewer requests cannot tell from perfect; an error rate is taken as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from loadtest.metrics import percentile, schedule_lag_s
from loadtest.run_records import RequestRecord, measured
from loadtest.slo import VALUES_S, Slo
from loadtest.slo_text import LatencyBound, Metric

LAG_SHARE = 0.05
"""Of the TTFT bound that the p99 of the schedule lag may take."""

DEFAULT_LAG_S = 0.025
"""Where the SLO has no TTFT bound: that share of 500 ms, MLPerf's for an interactive 8B model."""

WITHOUT_SLO = (LatencyBound("ttft", 99, float("inf")),)
"""A report shows a p99 of the TTFT even where nothing is asked of it."""

Kind = Literal["load generator", "client-limited", "no faults", "too few samples"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run is invalid."""

    kind: Kind
    text: str


def invalid_reasons(records: Iterable[RequestRecord], slo: Slo | None = None) -> list[Reason]:
    """Empty for a valid run. Without an SLO: is there enough for a p99 of the TTFT?"""
    offered = measured(records)
    return _lag_reasons(offered, slo) + _sample_reasons(offered, slo)


def lag_limit_s(slo: Slo | None) -> float:
    """What the p99 of the schedule lag may be."""
    bounds_s = [b.bound_s for b in slo.request_bounds() if b.metric == "ttft"] if slo else []
    return LAG_SHARE * bounds_s[0] if bounds_s else DEFAULT_LAG_S


def least_samples(beyond: Fraction) -> int:
    """So many that `beyond` of them, a share, is at least one; 1 where it is 0."""
    return ceil(1 / beyond) if beyond else 1


def _lag_reasons(offered: Sequence[RequestRecord], slo: Slo | None) -> list[Reason]:
    # A missed request was never sent: the server, not the client, was too slow for it.
    lag = percentile((schedule_lag_s(r.sample) for r in offered if not r.missed), 99)
    limit_s = lag_limit_s(slo)
    if lag is None or lag.value <= limit_s:
        return []
    text = (
        f"schedule lag p99 {lag.value * 1e3:.1f} ms (n={lag.n}) is above {limit_s * 1e3:.1f} ms: "
        "the client sent late"
    )
    return [Reason("client-limited", text)]


def _sample_reasons(offered: Sequence[RequestRecord], slo: Slo | None) -> list[Reason]:
    needed = [
        (bound.name, (100 - Fraction(str(bound.percent))) / 100, _samples(offered, bound.metric))
        for bound in (slo.bounds if slo else WITHOUT_SLO)
    ]
    if slo and slo.attainment_min is not None:
        needed.append(("attainment_min", 1 - Fraction(str(slo.attainment_min)), len(offered)))
    return [
        Reason("too few samples", f"{name} needs at least {least_samples(beyond)}, not {n}")
        for name, beyond, n in needed
        if n < least_samples(beyond)
    ]


def _samples(offered: Iterable[RequestRecord], metric: Metric) -> int:
    """Samples of a metric; a request that failed counts as one, for it failed the server's test:
    a run in which all fail is a breach."""
    return sum(
        1 if r.sample.error is not None else len(VALUES_S[metric](r.sample)) for r in offered
    )
