"""The latencies that a run's summary and report show: names, titles, and the samples behind each.

Formulas are in `loadtest/metrics.py`; this adds those counted from the intended start, which a
server that makes the client wait cannot hide (coordinated omission). Only successful requests
count, except in the schedule lag.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loadtest import metrics
from loadtest.metrics import RequestSample, succeeded

Samples = Iterable[RequestSample]


@dataclass(frozen=True, slots=True)
class Latency:
    """`values_s` gives every raw sample of a run, in seconds."""

    name: str
    title: str
    values_s: Callable[[Samples], list[float]]


def _of_each(value_s: Callable[[RequestSample], float | None]) -> Callable[[Samples], list[float]]:
    def values_s(samples: Samples) -> list[float]:
        return [value for s in succeeded(samples) if (value := value_s(s)) is not None]

    return values_s


def _late(value_s: Callable[[RequestSample], float | None]) -> Callable[[Samples], list[float]]:
    """The same from the intended start."""

    def from_due_s(sample: RequestSample) -> float | None:
        value = value_s(sample)
        return None if value is None else value + metrics.schedule_lag_s(sample)

    return _of_each(from_due_s)


def _lags_s(samples: Samples) -> list[float]:
    """Of failed requests too: how late the client was does not depend on the answer."""
    return [metrics.schedule_lag_s(sample) for sample in samples]


TTFT = Latency("ttft", "TTFT", metrics.ttfts_s)
TTFT_DUE = Latency("ttft_from_due", "TTFT from due time", _late(metrics.ttft_s))
TPOT = Latency("tpot", "TPOT", _of_each(metrics.tpot_s))
ITL = Latency("itl", "ITL", metrics.itls_s)
E2E = Latency("e2e", "E2E", _of_each(metrics.e2e_s))
E2E_DUE = Latency("e2e_from_due", "E2E from due time", _late(metrics.e2e_s))
LAG = Latency("schedule_lag", "Schedule lag", _lags_s)
LATENCIES = (TTFT, TTFT_DUE, TPOT, ITL, E2E, E2E_DUE, LAG)
