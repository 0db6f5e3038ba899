"""The page of a simulation: the policies beside each other, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from cluster.simulation.results import Latency, Result
from loadtest.number_text import ms
from loadtest.report.chart import (
    COLOURS,
    Chart,
    Numbers,
    Trace,
    axis,
    counted,
    from_zero,
    layout,
    line,
)
from loadtest.report.document import Section, document
from loadtest.report.html_table import facts, table
from loadtest.report.latency import LEAST_MS, log_ms_axis
from loadtest.settings import flat
from serve_app.simulate import scaling
from serve_app.simulate.table import HEADER
from serve_app.simulate.table import line as table_line

DASHES = ("solid", "dash", "dot")
"""More policies than colours differ in dash as well."""


def render(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """`about`: what the runs were, by name."""
    title = f"Simulation: {about['trace']}"
    policies = ", ".join(each.policy for each in results)
    return document(title, f"{about['engines']} engines · {policies}", _sections(results, about))


def _sections(results: Sequence[Result], about: Mapping[str, Any]) -> Iterable[Section]:
    yield Section("policies", "Policies", table(HEADER, map(table_line, results)))
    if any(each.scaling for each in results):
        yield Section("size", "SLO and engines", _sizes(results), [_engines(results)])
    yield Section("latency", "Latency", _latencies(results), [_ttft(results)])
    yield Section("timeline", "Over time", charts=_timelines(results))
    notes = "".join(f"<p>{escape(note)}</p>" for note in about["notes"])
    told = {name: value for name, value in about.items() if name != "notes" and value is not None}
    yield Section("configuration", "Configuration", notes + facts(flat(told)))


def _sizes(results: Sequence[Result]) -> str:
    header = ("size", "at, s", "engines", "to", "reason", "why")
    lines = [
        [each.policy, f"{d.at_s:.0f}", str(d.engines), str(d.target), d.reason, d.sentence]
        for each in results
        if each.scaling
        for d in each.scaling.decisions
    ]
    decided = f"<details><summary>Decisions</summary>{table(header, lines)}</details>"
    return table(scaling.HEADER, [scaling.line(each, results) for each in results]) + decided


def _engines(results: Sequence[Result]) -> Chart:
    """Those paid for, as steps."""
    data = [
        line(each.policy, found.timeline.at_s, found.timeline.engines,
             dash=DASHES[place // len(COLOURS) % len(DASHES)])
        for place, each in enumerate(results)
        if (found := each.scaling)
    ]  # fmt: skip
    for trace in data:
        trace["line"]["shape"] = "hv"
    most = max(each.scaling.most_engines for each in results if each.scaling)
    shape = layout(axis("simulated time, s"), counted("engines", most), COLOURS)
    return Chart("time-engines", "Engines, from their start to their end", data, shape, wide=True)


def _latencies(results: Sequence[Result]) -> str:
    header = ("policy", "latency", "n", "mean", "p50", "p90", "p99")
    lines = [
        [each.policy, name, *_latency(latency)]
        for each in results
        for name, latency in (("TTFT", each.ttft_s), ("TPOT", each.tpot_s), ("E2E", each.e2e_s))
    ]
    return table(header, lines)


def _latency(latency: Latency) -> list[str]:
    values_s = (latency.mean, latency.p50, latency.p90, latency.p99)
    return [f"{latency.n:,}", *map(ms, values_s)]


def _ttft(results: Sequence[Result]) -> Chart:
    curves_ms = [[max(LEAST_MS, v * 1e3) for v in each.ttft_curve_s] for each in results]
    every_ms = [value for curve in curves_ms for value in curve] or [LEAST_MS]
    data = [
        _line(place, each, curve, _shares(len(curve)))
        for place, (each, curve) in enumerate(zip(results, curves_ms, strict=True))
    ]
    y = axis("share of requests, %", range=[0, 101], ticksuffix=" %")
    return Chart(
        "cdf-ttft", "TTFT", data, layout(log_ms_axis("TTFT", every_ms), y, COLOURS), wide=True
    )


def _shares(points: int) -> list[float]:
    return [100 * (place + 1) / points for place in range(points)]


def _timelines(results: Sequence[Result]) -> list[Chart]:
    """Hit rate, imbalance and throughput; simulated time, so no two policies' runs are equally
    long."""
    hits = [_percent(each.timeline.hit_frac) for each in results]
    shares = [each.timeline.imbalance for each in results]
    rates = [each.timeline.output_tokens_per_s for each in results]
    return [
        _over_time("hits", "Prompt tokens found in cache", "%", results, hits),
        _over_time("imbalance", "Busiest engine over the mean", "max / mean", results, shares),
        _over_time("rate", "Output tokens of requests that ended", "tokens/s", results, rates),
    ]


def _percent(fracs: Iterable[float | None]) -> list[float | None]:
    return [None if frac is None else 100 * frac for frac in fracs]


def _over_time(
    name: str, title: str, unit: str, results: Sequence[Result], values: Sequence[Numbers]
) -> Chart:
    data = [
        _line(place, each, each.timeline.at_s, y)
        for place, (each, y) in enumerate(zip(results, values, strict=True))
    ]
    shape = layout(axis("simulated time, s"), from_zero(unit), COLOURS)
    return Chart(f"time-{name}", title, data, shape, wide=True)


def _line(place: int, result: Result, x: Numbers, y: Numbers) -> Trace:
    return line(result.policy, x, y, dash=DASHES[place // len(COLOURS) % len(DASHES)])
