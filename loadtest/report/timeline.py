"""The run over time: rate, requests in flight, TTFT, errors, engines; a chart each, one time axis.

What was done to the server stands in each as a numbered vertical line, with a band where it lasted;
the warm-up, which no number counts, is shaded.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import ceil
from typing import Any

from loadtest.error_classes import record_error_class
from loadtest.latencies import TTFT
from loadtest.metrics import ttft_s
from loadtest.report import engines
from loadtest.report.chart import (
    BLUE,
    COLOURS,
    GREEN,
    ORANGE,
    Chart,
    Trace,
    axis,
    counted,
    dots,
    from_zero,
    in_ms,
    layout,
    line,
)
from loadtest.report.series import Bins, Point, mean_in_flight, percentiles, thinned
from loadtest.run_folder import Mark, RunFolder
from loadtest.run_records import RequestRecord

MOST_BINS = 80
MOST_DOTS = 4000
MOST_NUMBERS = 12  # of marks, so that they do not touch on a phone
MOST_CLASSES = len(COLOURS)  # of errors that get a colour; the rest goes together
SHADE, PAUSE = "shade", "pause"  # colours of bands
TIME = "time since the load began, s"
HEIGHT = 210


class Timeline:
    """The charts of one run, over the same bins and with the same marks."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        instants_s = [at_s for record in folder.records for at_s in _instants_s(record)]
        instants_s += [at for mark in folder.marks for at in (mark.at_s, mark.end_s or mark.at_s)]
        self._bins = Bins.over(min(instants_s), max(instants_s), MOST_BINS)
        self._warm_up = _warm_up(folder)

    def charts(self) -> list[Chart]:
        found = [self._rate(), self._in_flight(), self._ttft(), self._errors(), self._engines()]
        return [chart for chart in found if chart is not None]

    def _rate(self) -> Chart:
        sent = self._folder.records
        ended = [
            r.sample.tn_s for r in sent if r.sample.error is None and r.sample.tn_s is not None
        ]
        offered = self._bins.per_s(record.sample.t_sched_s for record in sent)
        middles_s = self._bins.middles_s
        data = [
            line("offered", middles_s, offered, dash="dash"),
            line("achieved", middles_s, self._bins.per_s(ended)),
        ]
        note = f"Requests due, and requests answered, in each {self._bins.width_s:g} s."
        return self._chart("rate", "Rate", data, from_zero("requests/s"), [ORANGE, BLUE], note=note)

    def _in_flight(self) -> Chart:
        in_flight = mean_in_flight((r.sample for r in self._folder.records), self._bins)
        data = [line("in flight", self._bins.middles_s, in_flight), *self._users()]
        return self._chart("in-flight", "In flight", data, from_zero("requests"), [BLUE, ORANGE])

    def _users(self) -> list[Trace]:
        """How many a closed loop with stages was to have; empty for another load."""
        scenario = self._folder.config.get("scenario")
        if not isinstance(scenario, dict) or not (stages := scenario.get("stages")):
            return []
        ends_s = list(accumulate((stage["duration_s"] for stage in stages), initial=0.0))
        ends_s[-1] = float(scenario["duration_s"])
        users = [stage["users"] for stage in stages]
        trace = line("users of the stage", ends_s, [*users, users[-1]], dash="dash")
        trace["line"]["shape"] = "hv"
        return [trace]

    def _ttft(self) -> Chart | None:
        points = [
            (record.sample.t0_s, value_s)
            for record in self._folder.measured
            if record.sample.error is None and (value_s := ttft_s(record.sample)) is not None
        ]
        if not points:
            return None
        points.sort()
        shown = thinned(points, MOST_DOTS)
        split = self._bins.split(points)
        data = [
            _cloud(shown),
            *(
                line(
                    f"p{percent}",
                    self._bins.middles_s,
                    in_ms(percentiles(split, percent)),
                    dash=dash,
                    connectgaps=True,
                )
                for percent, dash in ((50, "solid"), (90, "dash"))
            ),
        ]
        note = f"By the instant of sending; p50 and p90 of each {self._bins.width_s:g} s."
        if len(shown) < len(points):
            note += f" {len(shown):,} of {len(points):,} requests drawn, the slowest among them."
        title = f"{TTFT.title} (n = {len(points):,})"
        return self._chart(
            "ttft", title, data, from_zero("TTFT, ms"), ["muted", BLUE, ORANGE], note=note
        )

    def _errors(self) -> Chart | None:
        by_class: dict[str, list[float]] = defaultdict(list)
        for record in self._folder.records:
            if found := record_error_class(record):
                by_class[found].append(record.sample.t_sched_s)
        if not by_class:
            return None
        names = sorted(by_class, key=lambda name: -len(by_class[name]))
        if len(names) > MOST_CLASSES:
            for name in names[MOST_CLASSES - 1 :]:
                by_class["other"] += by_class.pop(name)
            names = [*names[: MOST_CLASSES - 1], "other"]
        data = [self._bars(name, by_class[name]) for name in names]
        most = max(self._bins.counts(at_s for times_s in by_class.values() for at_s in times_s))
        note = "By the instant at which the request was due."
        return self._chart(
            "errors", "Errors", data, counted(f"requests per {self._bins.width_s:g} s", most),
            COLOURS, note=note, barmode="stack",
        )  # fmt: skip

    def _bars(self, name: str, at_s: Sequence[float]) -> Trace:
        counts = self._bins.counts(at_s)
        return {"type": "bar", "name": name, "x": self._bins.middles_s, "y": counts,
                "width": self._bins.widths_s}  # fmt: skip

    def _engines(self) -> Chart | None:
        counts = engines.engine_counts(self._folder.server)
        if not counts:
            return None
        at_s, ready = zip(*engines.changes_only(counts), strict=True)
        trace = line("engines", at_s, ready)
        trace["line"]["shape"] = "hv"
        return self._chart("engines", "Engines", [trace], counted("engines", max(ready)), [GREEN])

    def _chart(
        self,
        name: str,
        title: str,
        data: Sequence[Trace],
        y: Mapping[str, Any],
        colours: Sequence[str],
        *,
        note: str = "",
        **more: Any,
    ) -> Chart:
        edges_s = self._bins.edges_s
        x = axis(TIME, range=[float(edges_s[0]), float(edges_s[-1])])
        shapes = [*mark_lines(self._folder.marks), *pauses(self._folder.marks), *self._warm_up]
        drawn = layout(x, y, colours, height=HEIGHT, same_x="time", shapes=shapes, **more)
        also = [("warm-up, not counted", SHADE, "block")] if self._warm_up else []
        if any(mark.end_s is not None for mark in self._folder.marks):
            also.append(("a process stands still", PAUSE, "block"))
        return Chart(f"time-{name}", title, data, drawn, note=note, wide=True, also=also)


def _instants_s(record: RequestRecord) -> list[float]:
    sample = record.sample
    return [at for at in (sample.t_sched_s, sample.t0_s, sample.tn_s) if at is not None]


def _cloud(points: Sequence[Point]) -> Trace:
    """One dot a request, behind the lines."""
    x, y = zip(*points, strict=True)
    hover = "%{y:,.4g} ms at %{x:.4g} s<extra></extra>"
    return dots("one request", x, in_ms(y), size=3, opacity=0.45, hovertemplate=hover)


def mark_lines(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """A vertical line for each mark. The number above it stands in the page's list of marks; where
    there are many, only every so many-th has room for one."""
    every = ceil(len(marks) / MOST_NUMBERS)
    return [
        _mark_line(mark, f"{number}" if (number - 1) % every == 0 else "")
        for number, mark in enumerate(marks, 1)
    ]


def _mark_line(mark: Mark, text: str) -> dict[str, Any]:
    ends = {"x0": mark.at_s, "x1": mark.at_s, "yref": "paper", "y0": 0, "y1": 1}
    label = {"text": text, "textposition": "end", "textangle": 0, "yanchor": "bottom"}
    return {"type": "line", **ends, "line": {"dash": "dot", "width": 1.5}, "label": label}


def pauses(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """A band from the beginning to the end of each mark that has one."""
    return [_band(mark.at_s, mark.end_s, PAUSE) for mark in marks if mark.end_s is not None]


def _band(from_s: float, to_s: float, colour: str) -> dict[str, Any]:
    """From bottom to top, behind what is drawn; `colour` is one of the page's."""
    ends = {"x0": from_s, "x1": to_s, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "rect", **ends, "line": {"width": 0}, "layer": "below", "name": colour}


def _warm_up(folder: RunFolder) -> list[dict[str, Any]]:
    """The stretch before the first measured request, shaded; empty without a warm-up."""
    begun_s = [record.sample.t0_s for record in folder.records if record.warm_up]
    if not begun_s:
        return []
    measured_from_s = min(record.sample.t_sched_s for record in folder.measured)
    return [_band(min(begun_s), measured_from_s, SHADE)]
