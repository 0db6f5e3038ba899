"""What the server's own metrics say of its engines: how many, how evenly loaded, how warm.

Names are Prometheus samples as scraped, `name{label="value",…}`. vLLM tells engines apart by the
label `engine`; a server that has no such label, or no metrics, has nothing here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtest.report.chart import BLUE, HEIGHT, Chart, Trace, axis, from_zero, layout
from loadtest.run_folder import ServerSample

ENGINE_LABEL = "engine"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
QUERIES = "vllm:prefix_cache_queries_total"
HITS = "vllm:prefix_cache_hits_total"
OUTPUT_TOKENS = "vllm:generation_tokens_total"

_SAMPLE = re.compile(r"(?P<name>[^{]+)(?:\{(?P<labels>.*)\})?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Series = list[tuple[float, float]]
"""(instant, value), in order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine over the run; None where the server does not say."""

    name: str
    mean_running: float | None
    mean_waiting: float | None
    output_tokens: float | None
    prefix_hit_frac: float | None


def by_engine(samples: Iterable[ServerSample], metric: str) -> dict[str, Series]:
    """A metric's series of each engine; engines of several models are told apart by both."""
    series: dict[tuple[str, str], Series] = defaultdict(list)
    for sample in samples:
        for key, value in sample.metrics.items():
            labels = _labels(key, metric)
            if labels is not None and ENGINE_LABEL in labels:
                engine = labels.get("model_name", ""), labels[ENGINE_LABEL]
                series[engine].append((sample.at_s, value))
    several = len({model for model, _ in series}) > 1
    return {f"{m} {e}" if several else e: values for (m, e), values in sorted(series.items())}


def _labels(key: str, metric: str) -> Mapping[str, str] | None:
    """The labels of a sample of `metric`; None for one of another."""
    if not key.startswith(metric):
        return None
    found = _SAMPLE.fullmatch(key)
    if found is None or found["name"] != metric:
        return None
    return dict(_LABEL.findall(found["labels"] or ""))


def engine_counts(samples: Sequence[ServerSample]) -> Series:
    """How many engines reported at each instant; empty where none ever did."""
    counts = dict.fromkeys((sample.at_s for sample in samples), 0)
    for series in by_engine(samples, RUNNING).values():
        for at_s, _ in series:
            counts[at_s] += 1
    return sorted((at_s, float(n)) for at_s, n in counts.items()) if any(counts.values()) else []


def engines(samples: Sequence[ServerSample]) -> list[Engine]:
    """Every engine that reported, by name."""
    metrics = (RUNNING, WAITING, OUTPUT_TOKENS, QUERIES, HITS)
    running, waiting, tokens, queries, hits = (by_engine(samples, metric) for metric in metrics)
    return [
        Engine(
            name=name,
            mean_running=_mean(running.get(name)),
            mean_waiting=_mean(waiting.get(name)),
            output_tokens=_growth(tokens.get(name)),
            prefix_hit_frac=_ratio(_growth(hits.get(name)), _growth(queries.get(name))),
        )
        for name in sorted({*running, *tokens, *queries})
    ]


def _mean(series: Series | None) -> float | None:
    return sum(value for _, value in series) / len(series) if series else None


def _growth(series: Series | None) -> float | None:
    """How much a counter counted. One that went back was of a process that began anew."""
    if not series:
        return None
    values = [value for _, value in series]
    steps = pairwise(values)
    return sum(after - before if after >= before else after for before, after in steps)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def balance(samples: Sequence[ServerSample]) -> list[Chart]:
    """Requests running on each engine over time, as a heat map; none where no engine reported."""
    series = by_engine(samples, RUNNING)
    if not series:
        return []
    at_s = sorted({at_s for values in series.values() for at_s, _ in values})
    known = [dict(values) for values in series.values()]
    trace: Trace = {
        "type": "heatmap",
        "x": at_s,
        "y": list(series),
        "z": [[values.get(instant) for instant in at_s] for values in known],
        "zmin": 0,
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": "requests", "side": "right"}, "thickness": 12},
        "hovertemplate": "engine %{y}: %{z} requests at %{x:.4g} s<extra></extra>",
    }
    drawn = layout(
        axis("time since the load began, s"),
        axis("engine", type="category", ticks=""),
        [BLUE],
        height=max(HEIGHT - 60, 120 + 22 * len(series)),
    )
    note = "Where an engine has no colour, it did not report."
    return [Chart("engines-running", "Requests running", [trace], drawn, note=note, wide=True)]


def hits(samples: Sequence[ServerSample]) -> list[Chart]:
    """Prefix hits of all engines together over time, from their counters; none without those."""
    queries, hit = (_steps(by_engine(samples, metric)) for metric in (QUERIES, HITS))
    shares = [(at_s, 100 * hit.get(at_s, 0.0) / asked) for at_s, asked in queries.items() if asked]
    if not shares:
        return []
    x, y = zip(*sorted(shares), strict=True)
    trace: Trace = {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"width": 2}}
    drawn = layout(
        axis("time since the load began, s"),
        from_zero("prefix hit, % of tokens", range=[0, 100]),
        [BLUE],
    )
    return [Chart("prefix-hits", "Prefix hits", [trace], drawn, wide=True)]


def _steps(series: Mapping[str, Series]) -> dict[float, float]:
    """By instant, what the counters grew by since the instant before, summed over engines."""
    grown: dict[float, float] = defaultdict(float)
    for values in series.values():
        for (_, before), (at_s, after) in pairwise(values):
            grown[at_s] += max(0.0, after - before)
    return grown
