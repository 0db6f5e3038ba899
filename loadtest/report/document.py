"""A page that holds all it needs: sections of text and charts in the template, plotly inlined.

Its content security policy lets a browser load nothing from elsewhere: plotly knows servers for its
maps, which no chart here uses.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from loadtest.report.chart import Chart


@dataclass(frozen=True, slots=True)
class Section:
    """Left out where it has neither text nor charts."""

    id: str
    title: str
    html: str = ""
    charts: Sequence[Chart] = field(default_factory=list)


def document(title: str, about: str, sections: Iterable[Section], lead_html: str = "") -> str:
    """The whole page; `lead_html` stands before the sections."""
    shown = [part for part in sections if part.html or part.charts]
    figures = {chart.id: chart.figure for part in shown for chart in part.charts}
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        about=escape(about),
        style=_asset("style.css"),
        sections=lead_html + "\n".join(map(_section, shown)),
        figures=_script_json(figures),
        plotly=get_plotlyjs(),
        charts=_asset("charts.js"),
    )


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
