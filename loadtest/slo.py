"""A service-level objective (SLO): what it says, and whether a load test met it.

As text, on a command line, or as a YAML mapping:

    ttft_p99=500ms,tpot_p99=50ms,error_rate=1%
    {ttft_p99_ms: 500, tpot_p99_ms: 50, error_rate: 0.01}

| key | value | met when |
|---|---|---|
| `<metric>_p<percent>` | a time with its unit: `500ms`, `0.5s` | that percentile is at most it |
| `<metric>_p<percent>_ms`, `…_s` | a number | the same |
| `error_rate` | 0.01, or `1%` | failed, cut and missed / offered requests are at most it |
| `attainment_min` | 0.99, or `99%` | good / offered requests are at least it |
| `goodput_per_s_min` | a number | good requests a second are at least it |
| `preset` | a name of `PRESETS` | its clauses; other keys add to them or replace them |

Metrics are `ttft`, `tpot`, `itl` and `e2e` of `loadtest/metrics.py`, from the request's real start.
In text, a part without `=` is a preset: `llama-2-70b,error_rate=1%`.

A request is good when it succeeded and is within every metric's bound. Of several bounds on one
metric, the one at the highest percentile is the request's: `e2e_p50=1s,e2e_p99=4s` lets a request
take 4 s. A request's ITL is the same percentile of its own gaps. One with fewer than two tokens
has no TPOT and no gaps, and passes those by its TTFT; one without content has no TTFT and no E2E,
and misses them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator

from loadtest.intervals import Interval, wilson
from loadtest.metrics import RequestSample, e2e_s, percentile, tpot_s, ttft_s
from loadtest.run_records import RequestRecord, measured
from loadtest.slo_text import OTHERS, PRESETS, LatencyBound, Metric, fields_of, key_of

__all__ = ["PRESETS", "Clause", "Slo", "attainment", "evaluate", "good_under", "parse_slo"]

DEFAULT_ATTAINMENT = 0.99
"""What a search for the limit asks for where the SLO has no `attainment_min`: as a p99 does."""


class Slo(BaseModel):
    """Made from the text or the mapping that the module documents, also as a field of another
    model; dumped as a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bounds: tuple[LatencyBound, ...] = ()
    error_rate: float | None = None
    attainment_min: float | None = None
    goodput_per_s_min: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_grammar(cls, data: Any) -> Any:
        if isinstance(data, cls):
            return data
        if not isinstance(data, str | Mapping):
            raise ValueError(f"an SLO is text or a mapping, not {data!r:.80}")
        return fields_of(data)

    @model_serializer
    def mapping(self) -> dict[str, Any]:
        others = {name: getattr(self, name) for name in OTHERS}
        bounds = dict(key_of(bound) for bound in self.bounds)
        return bounds | {name: value for name, value in others.items() if value is not None}

    def text(self) -> str:
        """What `parse_slo` reads again."""
        return ",".join(f"{key}={value}" for key, value in self.mapping().items())

    def request_bounds(self) -> list[LatencyBound]:
        """The bounds that each request is held to: per metric, that of the highest percentile."""
        rising = sorted(self.bounds, key=lambda bound: bound.percent)
        return list({bound.metric: bound for bound in rising}.values())


def parse_slo(data: str | Mapping[str, Any]) -> Slo:
    """Raises ValueError with every mistake, each with its key."""
    try:
        return Slo.model_validate(data)
    except ValidationError as error:
        raise ValueError(str(error.errors()[0]["ctx"]["error"])) from None


Values = Callable[[RequestSample], Sequence[float]]


def _at_most_one(value_s: Callable[[RequestSample], float | None]) -> Values:
    return lambda sample: () if (value := value_s(sample)) is None else (value,)


VALUE_S: dict[Metric, Callable[[RequestSample], float | None]] = {
    "ttft": ttft_s,
    "tpot": tpot_s,
    "e2e": e2e_s,
}
"""The metrics of which a request has one value at most."""

VALUES_S: dict[Metric, Values] = {
    "ttft": _at_most_one(ttft_s),
    "tpot": _at_most_one(tpot_s),
    "itl": lambda sample: [gap_us / 1e6 for gap_us in sample.itl_us],
    "e2e": _at_most_one(e2e_s),
}
"""What one request, if it succeeded, adds to the samples of a metric."""

NEEDED: frozenset[Metric] = frozenset({"ttft", "e2e"})
"""What a request must have to be within a bound on it."""


IsGood = Callable[[RequestSample], bool]


def good_under(slo: Slo) -> IsGood:
    """What says of a request whether it succeeded within all bounds; made once for many requests:
    a large run asks it of every request, a live one in the path of each answer."""
    within = [_within(bound) for bound in slo.request_bounds()]

    def is_good(sample: RequestSample) -> bool:
        return sample.error is None and all(meets(sample) for meets in within)

    return is_good


def _within(bound: LatencyBound) -> IsGood:
    if bound.metric == "itl":
        return partial(_gaps_within, bound)
    # Any percentile of one value is that value.
    value_s, bound_s = VALUE_S[bound.metric], bound.bound_s
    without = bound.metric not in NEEDED

    def meets(sample: RequestSample) -> bool:
        found_s = value_s(sample)
        return without if found_s is None else found_s <= bound_s

    return meets


def _gaps_within(bound: LatencyBound, sample: RequestSample) -> bool:
    gaps_us = sample.itl_us
    # In most requests all gaps are; only the others need to be put in order.
    if not gaps_us or max(gaps_us) / 1e6 <= bound.bound_s:
        return True
    found = percentile(gaps_us, bound.percent)
    return found is None or found.value / 1e6 <= bound.bound_s


class Attainment(NamedTuple):
    """Good of offered requests, with Wilson's 95 % interval of the share."""

    good: int
    offered: int
    interval: Interval

    @property
    def share(self) -> float | None:
        return self.good / self.offered if self.offered else None


def attainment(records: Iterable[RequestRecord], slo: Slo) -> Attainment:
    """Of the measured requests."""
    offered = measured(records)
    is_good = good_under(slo)
    good = sum(is_good(record.sample) for record in offered)
    return Attainment(good, len(offered), wilson(good, len(offered)))


class Clause(NamedTuple):
    """One clause and what was measured: `value` of `n` samples, in s, as a share or per second.
    Not met where there is nothing to judge by: `value` is None."""

    name: str
    bound: float
    value: float | None
    n: int
    met: bool


def evaluate(records: Iterable[RequestRecord], slo: Slo, window_s: float) -> list[Clause]:
    """Every clause, in the order: latencies as the SLO has them, errors, attainment, goodput.

    `window_s` is how long the measured load took; must be above 0. Shares are judged by their
    point estimate.
    """
    offered = measured(records)
    succeeded = [record.sample for record in offered if record.sample.error is None]
    n = len(offered)
    found = [_latency_clause(bound, succeeded) for bound in slo.bounds]
    if slo.error_rate is not None:
        found.append(_at_most("error_rate", slo.error_rate, _share(n - len(succeeded), n), n))
    if slo.attainment_min is not None:
        found.append(
            _at_least("attainment_min", slo.attainment_min, attainment(offered, slo).share, n)
        )
    if slo.goodput_per_s_min is not None:
        goodput_per_s = attainment(offered, slo).good / window_s
        found.append(_at_least("goodput_per_s_min", slo.goodput_per_s_min, goodput_per_s, n))
    return found


def _latency_clause(bound: LatencyBound, succeeded: Iterable[RequestSample]) -> Clause:
    values_s = (value for sample in succeeded for value in VALUES_S[bound.metric](sample))
    found = percentile(values_s, bound.percent)
    value_s, n = (found.value, found.n) if found else (None, 0)
    return _at_most(bound.name, bound.bound_s, value_s, n)


def _at_most(name: str, bound: float, value: float | None, n: int) -> Clause:
    return Clause(name, bound, value, n, value is not None and value <= bound)


def _at_least(name: str, bound: float, value: float | None, n: int) -> Clause:
    return Clause(name, bound, value, n, value is not None and value >= bound)


def _share(part: int, n: int) -> float | None:
    return part / n if n else None
