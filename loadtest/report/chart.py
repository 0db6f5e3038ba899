"""One chart: plotly's JSON for its data and layout, with what the page writes around it.

Colours are names of the page's own custom properties (`charts.js` puts in the value of the light or
the dark scheme), so a chart says which series have which, in order. The five are told apart with
any colour vision (after Okabe and Ito), and lines differ in dash as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.report.series import round_up_125

Trace = dict[str, Any]
Numbers = Iterable[float | None]

Entry = tuple[str, str, str]
"""Of a legend: name, colour, and shape, one of those in `style.css`."""

BLUE, ORANGE, GREEN, PURPLE, RED = "blue", "orange", "green", "purple", "red"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED)
HEIGHT = 250  # px
MOST_STEPS = 4
MARGIN = {"l": 58, "r": 14, "t": 18, "b": 44}


@dataclass(frozen=True, slots=True)
class Chart:
    """`wide` takes the whole column; `note` is a sentence under the chart. The legend is HTML above
    it, where it wraps instead of covering what is drawn."""

    id: str
    title: str
    data: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    wide: bool = False
    also: Sequence[Entry] = ()  # in the legend, beside the series

    @property
    def legend(self) -> list[Entry]:
        """Of each series, if there are several, and of what else is drawn."""
        colours = self.layout["meta"]["colours"]
        series = [
            (trace["name"], colours[place % len(colours)], _shape(trace))
            for place, trace in enumerate(self.data)
            if "name" in trace
        ]
        return [*(series if len(series) > 1 else []), *self.also]

    @property
    def figure(self) -> dict[str, Any]:
        """What plotly's `newPlot` takes."""
        return {"data": list(self.data), "layout": dict(self.layout)}


def layout(
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    colours: Sequence[str],
    *,
    height: int = HEIGHT,
    same_x: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Two axes, and the series' colours. Charts with one `same_x` are zoomed and panned together
    along x, which must then have a `range`."""
    return {
        "xaxis": dict(x),
        "yaxis": dict(y),
        "height": height,
        "margin": MARGIN,
        "showlegend": False,
        "hovermode": "closest",
        "meta": {"colours": list(colours), "x": same_x},
        **more,
    }


def _shape(trace: Trace) -> str:
    if trace["type"] == "bar":
        return "block"
    if trace["mode"].startswith("markers"):  # with or without text
        return "ring" if trace["marker"].get("symbol", "").endswith("-open") else "dot"
    return str(trace["line"].get("dash", "solid"))


def axis(title: str, **more: Any) -> dict[str, Any]:
    """`title` has the unit in it."""
    return {"title": {"text": title}, **more}


def from_zero(title: str, **more: Any) -> dict[str, Any]:
    return axis(title, rangemode="tozero", **more)


def counted(title: str, most: float) -> dict[str, Any]:
    """An axis of whole numbers from zero to at least `most`."""
    step = max(1.0, round_up_125(max(most, 1) / MOST_STEPS))
    return axis(title, dtick=step, range=[0, max(1.0, most) * 1.1])


def line(name: str, x: Numbers, y: Numbers, *, dash: str = "solid", **more: Any) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": short(x),
        "y": short(y),
        "line": {"dash": dash, "width": 2},
        **more,
    }


def dots(name: str, x: Numbers, y: Numbers, *, size: float = 4, **more: Any) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": short(x),
        "y": short(y),
        "marker": {"size": size},
        **more,
    }


def short(values: Numbers) -> list[float | None]:
    """Five significant digits: more would only make the file larger."""
    return [None if value is None else float(f"{value:.5g}") for value in values]


def in_ms(values_s: Numbers) -> list[float | None]:
    return [None if value is None else value * 1e3 for value in values_s]
