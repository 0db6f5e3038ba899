"""Two runs of the same load compared: per metric the change from A to B, and whether it is one.

The interval is a block bootstrap (`loadtest/intervals.py`): a latency or a share belongs to the
stretch of the run in which its request was due, what makes up a rate to the one in which its
request ended. `better` and `worse` mean that the 95 % interval of the change leaves zero out: of 20
metrics that did not change, one will. The interval covers what varies within a run, not what varies
between runs (another machine, a cold cache): for that, repeat the runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from loadtest.intervals import (
    BLOCKS,
    Blocked,
    Floats,
    Interval,
    block_draws,
    central,
    means,
    nearest_rank,
    percentiles,
    totals,
)
from loadtest.run_records import RequestRecord, measured
from loadtest.slo import VALUES_S, Slo, good_under
from loadtest.slo_text import Metric

LEAST_BLOCKS = 10
"""With samples in fewer blocks, drawing blocks says nothing: a verdict would be a guess."""

Verdict = Literal["better", "worse", "noise", "unknown"]
Records = Sequence[RequestRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One metric in both runs: seconds, shares or per second, as its name says.

    `interval` is of `b - a`. The verdict is unknown where a side has no value, or too few blocks
    of its run have any; `interval` is None then.
    """

    metric: str
    a: float | None
    b: float | None
    n_a: int
    n_b: int
    interval: Interval | None
    verdict: Verdict

    @property
    def change(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def change_frac(self) -> float | None:
        """Of A's value; None where that is 0."""
        return self.change / self.a if self.change is not None and self.a else None


def compare(
    records_a: Iterable[RequestRecord],
    records_b: Iterable[RequestRecord],
    windows_s: tuple[float, float],
    slo: Slo | None = None,
    seed: int = 0,
) -> list[Change]:
    """Every metric that at least one run has a value of, in the order of a report.

    `windows_s` is how long the measured load of A and of B took, from the first request that was
    due; each must be above 0. Goodput is compared where there is an `slo`. Whether the two runs are
    of the same load is the caller's to see to. The same seed gives the same intervals.
    """
    run_a, run_b = _run(records_a, windows_s[0]), _run(records_b, windows_s[1])
    draws_a, draws_b = block_draws(seed, side=0), block_draws(seed, side=1)
    changes = [
        _change(quantity, quantity.side(run_a, draws_a), quantity.side(run_b, draws_b))
        for quantity in _quantities(slo)
    ]
    return [change for change in changes if not change.a is change.b is None]


@dataclass(frozen=True, slots=True)
class _Run:
    records: Records
    start_s: float
    window_s: float

    def blocked(self, samples: Sequence[tuple[float, float]]) -> Blocked:
        """From (instant in s, value). What ends after the window belongs to its last block."""
        at_s, values = np.array(samples, dtype=np.float64).reshape(-1, 2).T
        blocks = ((at_s - self.start_s) / self.window_s * BLOCKS).astype(np.intp)
        return Blocked(values, np.clip(blocks, 0, BLOCKS - 1))


def _run(records: Iterable[RequestRecord], window_s: float) -> _Run:
    if not window_s > 0:
        raise ValueError(f"a window must be above 0 s, not {window_s}")
    offered = measured(records)
    start_s = min((record.sample.t_sched_s for record in offered), default=0.0)
    return _Run(offered, start_s, window_s)


@dataclass(frozen=True, slots=True)
class _Quantity:
    """How a metric follows from its samples: all of them, and in each draw of blocks."""

    name: str
    up_is_better: bool
    samples: Callable[[_Run], Blocked]
    value: Callable[[Floats], float]
    drawn: Callable[[Floats, Blocked], Floats]
    is_rate: bool = False  # divided by the window; without samples it is 0

    def side(self, run: _Run, draws: Floats) -> "_Side":
        samples = self.samples(run)
        n, blocks = len(samples.values), len(np.unique(samples.blocks))
        if self.is_rate:
            total, drawn = self.value(samples.values), self.drawn(draws, samples)
            return _Side(n, total / run.window_s, drawn / run.window_s)
        enough = blocks >= LEAST_BLOCKS
        drawn = self.drawn(draws, samples) if enough else np.full(len(draws), np.nan)
        return _Side(n, self.value(samples.values) if n else None, drawn)


class _Side(NamedTuple):
    """A metric of one run; `drawn` is all NaN where too few blocks have samples."""

    n: int
    value: float | None
    drawn: Floats


def _quantities(slo: Slo | None) -> list[_Quantity]:
    tokens = _rate("output_tokens_per_s", lambda record: record.sample.output_tokens or 0)
    requests = _rate("requests_per_s", lambda record: record.sample.error is None)
    goodput = [_goodput(slo)] if slo else []
    return [
        *(_latency(metric, percent) for metric in VALUES_S for percent in (50, 99)),
        *(tokens, requests, *goodput),
        _share("error_rate", False, lambda record: record.sample.error is not None),
        _share("right_frac", True, lambda record: record.right),
    ]


def _goodput(slo: Slo) -> _Quantity:
    is_good = good_under(slo)
    return _rate("goodput_per_s", lambda record: is_good(record.sample))


def _latency(metric: Metric, percent: float) -> _Quantity:
    def samples(run: _Run) -> Blocked:
        of = VALUES_S[metric]
        succeeded = [record.sample for record in run.records if record.sample.error is None]
        return run.blocked([(sample.t_sched_s, v) for sample in succeeded for v in of(sample)])

    value = partial(nearest_rank, percent=percent)
    drawn = partial(percentiles, percent=percent)
    return _Quantity(f"{metric}_p{percent:g}_s", False, samples, value, drawn)


def _share(name: str, up_is_better: bool, of: Callable[[RequestRecord], bool | None]) -> _Quantity:
    """Of the requests of which `of` says yes or no."""

    def samples(run: _Run) -> Blocked:
        told = [(record.sample.t_sched_s, of(record)) for record in run.records]
        return run.blocked([(at_s, said) for at_s, said in told if said is not None])

    return _Quantity(name, up_is_better, samples, lambda values: float(values.mean()), means)


def _rate(name: str, of: Callable[[RequestRecord], float]) -> _Quantity:
    """Of what successful requests add up to, when they end."""

    def samples(run: _Run) -> Blocked:
        succeeded = [record for record in run.records if record.sample.error is None]
        return run.blocked([(_end_s(r), of(r)) for r in succeeded if of(r)])

    def total(values: Floats) -> float:
        return float(values.sum())

    return _Quantity(name, True, samples, total, totals, is_rate=True)


def _end_s(record: RequestRecord) -> float:
    sample = record.sample
    return sample.t0_s if sample.tn_s is None else sample.tn_s


def _change(quantity: _Quantity, a: _Side, b: _Side) -> Change:
    interval = central(b.drawn - a.drawn)
    return Change(
        metric=quantity.name,
        a=a.value,
        b=b.value,
        n_a=a.n,
        n_b=b.n,
        interval=interval,
        verdict=_verdict(interval, quantity.up_is_better),
    )


def _verdict(interval: Interval | None, up_is_better: bool) -> Verdict:
    if interval is None:
        return "unknown"
    if interval.low <= 0 <= interval.high:
        return "noise"
    return "better" if (interval.low > 0) == up_is_better else "worse"
