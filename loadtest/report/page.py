"""The page: a run's sections in order, put into the template with plotly and the figures.

It holds all it needs. Its content security policy lets a browser load nothing from elsewhere:
plotly knows servers for its maps, which no chart here uses.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from loadtest.report import engines, latency, tables
from loadtest.report.chart import Chart
from loadtest.report.timeline import Timeline
from loadtest.run_folder import RunFolder
from loadtest.summary_schema import Summary


@dataclass(frozen=True, slots=True)
class Section:
    """Left out where it has neither text nor charts."""

    id: str
    title: str
    html: str = ""
    charts: Sequence[Chart] = field(default_factory=list)


def render(folder: RunFolder, summary: Summary) -> str:
    """The whole report as one HTML file."""
    shown = [part for part in _sections(folder, summary) if part.html or part.charts]
    figures = {chart.id: chart.figure for part in shown for chart in part.charts}
    return Template(_asset("page.html")).substitute(
        title=escape(f"Load test: {summary.scenario}"),
        about=escape(_about(folder)),
        style=_asset("style.css"),
        sections=tables.headline(summary) + "\n".join(map(_section, shown)),
        figures=_script_json(figures),
        plotly=get_plotlyjs(),
        charts=_asset("charts.js"),
    )


def _sections(folder: RunFolder, summary: Summary) -> Iterable[Section]:
    samples = [record.sample for record in folder.measured if not record.missed]
    bounds = latency_bounds(summary)
    yield Section("slo", "SLO", tables.slo(summary.slo))
    yield Section("glance", "At a glance", f'<div class="tiles">{tables.glance(summary)}</div>')
    yield Section("load", "Load", tables.load(summary))
    yield Section(
        "latency",
        "Latency",
        tables.latencies(summary.latency),
        latency.distributions(samples, bounds),
    )
    yield Section("timeline", "Timeline", tables.marks(folder.marks), Timeline(folder).charts())
    yield Section("rate", "Latency against rate", charts=latency.against_rate(samples))
    yield Section("errors", "Errors", tables.errors(summary) or "<p>No request failed.</p>")
    yield Section("kinds", "By kind", tables.groups("kind", summary.kinds))
    yield Section("tenants", "By tenant", tables.groups("tenant", summary.tenants))
    yield Section(
        "engines",
        "Engines",
        tables.engines(engines.engines(folder.server)),
        [*engines.balance(folder.server), *engines.hits(folder.server)],
    )
    yield Section("configuration", "Configuration", tables.settings(folder.config))
    yield Section("environment", "Environment", tables.settings(folder.environment))


def latency_bounds(summary: Summary) -> dict[str, list[tuple[str, float]]]:
    """The SLO's bounds on latencies, for lines in their charts."""
    bounds: dict[str, list[tuple[str, float]]] = {}
    for clause in summary.slo:
        metric = clause.name.partition("_p")[0]  # other clauses give names that no chart has
        bounds.setdefault(metric, []).append((clause.text, clause.bound))
    return bounds


def _about(folder: RunFolder) -> str:
    """Who was tested, and when."""
    known = [folder.config.get("model"), folder.config.get("target")]
    known.append(folder.environment.get("started_at"))
    return " · ".join(str(value) for value in known if value)


def _section(part: Section) -> str:
    charts = "".join(map(_figure, part.charts))
    grid = f'<div class="charts">{charts}</div>' if charts else ""
    heading = f"<h2>{escape(part.title)}</h2>"
    return f'<section id="{part.id}">{heading}{part.html}{grid}</section>'


def _figure(chart: Chart) -> str:
    note = f"<small>{escape(chart.note)}</small>" if chart.note else ""
    width = "wide" if chart.wide else "half"
    return (
        f'<figure class="{width}"><h3>{escape(chart.title)}</h3>{_legend(chart)}'
        f'<div id="{chart.id}"></div><figcaption>{note}</figcaption></figure>'
    )


def _legend(chart: Chart) -> str:
    entries = "".join(
        f'<li><i class="{shape}" style="color: var(--{colour})"></i>{escape(name)}</li>'
        for name, colour, shape in chart.legend
    )
    return f'<ul class="legend">{entries}</ul>' if entries else ""


def _script_json(content: Any) -> str:
    """JSON that may stand in a script element: no text in it ends the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files("loadtest.report").joinpath(name).read_text(encoding="utf-8")
