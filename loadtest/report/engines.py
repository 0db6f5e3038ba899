"""What the server's own metrics say of its engines: how many, how evenly loaded, how warm.

Names are Prometheus samples as scraped, `name{label="value",…}`. vLLM tells engines apart by the
label `engine`; a server that has no such label, or no metrics, has nothing here. Where Tokenfleet
names its engines itself, that counts: to vLLM each of them is engine 0.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from loadtest.report.chart import (
    BLUE,
    HEIGHT,
    Chart,
    Numbers,
    Trace,
    axis,
    from_zero,
    layout,
    line,
    short,
)
from loadtest.report.series import Bins
from loadtest.run_folder import ServerSample

MOST_BINS = 200
TIME = "time since the load began, s"
ENGINE_LABEL = "engine"
RUNNING = "tokenfleet:engine_running", "vllm:num_requests_running"
WAITING = "tokenfleet:engine_waiting", "vllm:num_requests_waiting"
QUERIES = ("vllm:prefix_cache_queries_total",)
HITS = ("vllm:prefix_cache_hits_total",)
ENGINES, READY = "tokenfleet:engines", "ready"
OUTPUT_TOKENS = ("vllm:generation_tokens_total",)

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


def by_engine(samples: Sequence[ServerSample], metrics: Sequence[str]) -> dict[str, Series]:
    """Each engine's series of the first of the metrics that the server has."""
    found = (_by_engine(samples, metric) for metric in metrics)
    return next((series for series in found if series), {})


def _by_engine(samples: Iterable[ServerSample], metric: str) -> dict[str, Series]:
    """Engines of several models are told apart by both names."""
    series: dict[tuple[str, str], Series] = defaultdict(list)
    for sample in samples:
        for key, value in sample.metrics.items():
            labels = _labels(key, metric)
            if labels is not None and ENGINE_LABEL in labels:
                engine = labels.get("model_name", ""), labels[ENGINE_LABEL]
                series[engine].append((sample.at_s, value))
    several = len({model for model, _ in series}) > 1
    ordered = sorted(series, key=lambda key: (key[0], len(key[1]), key[1]))  # 10 after 9
    return {f"{m} {e}" if several else e: series[m, e] for m, e in ordered}


def _labels(key: str, metric: str) -> Mapping[str, str] | None:
    """The labels of a sample of `metric`; None for one of another."""
    if not key.startswith(metric):
        return None
    found = _SAMPLE.fullmatch(key)
    if found is None or found["name"] != metric:
        return None
    return dict(_LABEL.findall(found["labels"] or ""))


def engine_counts(samples: Sequence[ServerSample]) -> Series:
    """How many engines were ready at each instant: as the server counts them, else as many as
    reported. Empty where it does neither."""
    counts = [(sample.at_s, _ready(sample.metrics)) for sample in samples]
    return [(at_s, n) for at_s, n in counts if n is not None] if any(n for _, n in counts) else []


def changes_only(series: Series) -> Series:
    """The points at which a step line changes, and its last one."""
    inner = [after for before, after in pairwise(series) if before[1] != after[1]]
    return [*series[:1], *inner, *series[-1:]]


def _ready(metrics: Mapping[str, float]) -> float | None:
    """None for a look at the server that brought nothing."""
    said = [
        value if labels.get("state") == READY else 0.0
        for key, value in metrics.items()
        if (labels := _labels(key, ENGINES)) is not None
    ]
    if said or not metrics:
        return sum(said) if said else None
    return float(len(by_engine([ServerSample(0.0, metrics)], RUNNING)))


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
        for name in running or tokens or queries
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
    bins = _bins(samples)
    rows = {name: map(_mean_value, bins.split(values)) for name, values in series.items()}
    note = f"Mean of each {bins.width_s:g} s. Where an engine has no colour, it did not report."
    return [_heat_map("engines-running", "Requests running", bins, rows, "requests", note)]


def _heat_map(
    name: str,
    title: str,
    bins: Bins,
    rows: Mapping[str, Numbers],
    unit: str,
    note: str,
    **more: Any,
) -> Chart:
    """A line for each engine; `more` is laid over the trace."""
    trace: Trace = {
        "type": "heatmap",
        "x": short(bins.middles_s),
        "y": [f"engine {engine}" for engine in rows],
        "z": [short(values) for values in rows.values()],
        "zmin": 0,
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": unit, "side": "right"}, "thickness": 12},
        "hovertemplate": f"%{{y}}: %{{z}} {unit} at %{{x:.4g}} s<extra></extra>",
        **more,
    }
    height = max(HEIGHT - 60, 120 + 22 * len(rows))
    y = {"type": "category", "automargin": True}
    return Chart(
        name, title, [trace], layout(axis(TIME), y, [BLUE], height=height), note, wide=True
    )


def _bins(samples: Sequence[ServerSample]) -> Bins:
    """Of two looks at the server at least: with one each, a late look would leave a hole."""
    instants_s = [sample.at_s for sample in samples]
    return Bins.over(min(instants_s), max(instants_s), max(1, min(MOST_BINS, len(instants_s) // 2)))


def _mean_value(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def hits(samples: Sequence[ServerSample]) -> list[Chart]:
    """Prefix hits over time, from the engines' counters: of all together, and where there are
    several of each, since a new engine is cold while the others hide it; none without counters."""
    asked, hit = (by_engine(samples, metrics) for metrics in (QUERIES, HITS))
    bins = _bins(samples) if asked else None
    if bins is None or not any(count for _, count in _steps(asked)):
        return []
    drawn = layout(axis(TIME), from_zero("prefix hit, % of tokens", range=[0, 100]), [BLUE])
    trace = line("prefix hit", bins.middles_s, _hit_percents(bins, hit, asked))
    note = f"Of the prompt tokens that engines looked up in each {bins.width_s:g} s."
    whole = Chart("prefix-hits", "Prefix hits", [trace], drawn, note=note, wide=True)
    if len(asked) == 1:
        return [whole]
    rows = {
        name: _hit_percents(bins, {name: hit.get(name, [])}, {name: asked[name]}) for name in asked
    }
    title, note = "Prefix hits by engine", "Where an engine has no colour, it looked up nothing."
    return [whole, _heat_map("engines-hits", title, bins, rows, "% of tokens", note, zmax=100)]


def _hit_percents(
    bins: Bins, hit: Mapping[str, Series], asked: Mapping[str, Series]
) -> list[float | None]:
    """In each bin; None where nothing was looked up."""
    counts = zip(bins.split(_steps(hit)), bins.split(_steps(asked)), strict=True)
    return [100 * sum(some) / sum(every) if sum(every) else None for some, every in counts]


def _steps(series: Mapping[str, Series]) -> Series:
    """What each engine's counter grew by between two looks, at the second one."""
    return [
        (at_s, max(0.0, after - before))
        for values in series.values()
        for (_, before), (at_s, after) in pairwise(values)
    ]
