"""Charts of latencies: how they are distributed, and how they rise with the rate."""

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

from loadtest.latencies import E2E, E2E_DUE, ITL, TPOT, TTFT, TTFT_DUE, Latency
from loadtest.metrics import RequestSample, succeeded
from loadtest.report.chart import (
    BLUE,
    GREEN,
    ORANGE,
    Chart,
    Trace,
    axis,
    dots,
    from_zero,
    in_ms,
    layout,
    line,
)
from loadtest.report.series import Bins, Curve, cumulative, percentiles

LEAST_MS = 0.1  # where a logarithmic axis begins: chunks that one read brought have a gap of 0
MOST_TICKS = 6
MOST_BINS = 40
BIN_REQUESTS = 20  # so many at least in a bin, on average: fewer make no p90
DASHES = ("solid", "dash")
CDFS: tuple[tuple[Latency, ...], ...] = ((TTFT, TTFT_DUE), (TPOT,), (ITL,), (E2E, E2E_DUE))
NAMES = ("from sending", "from due time")

Limits = Mapping[str, Sequence[tuple[str, float]]]
"""By name of a latency: (what the SLO says, its bound in seconds)."""


def distributions(samples: Sequence[RequestSample], limits: Limits) -> list[Chart]:
    """One cumulative chart for each latency that has samples."""
    charts = (_distribution(latencies, samples, limits) for latencies in CDFS)
    return [chart for chart in charts if chart is not None]


def _distribution(
    latencies: Sequence[Latency], samples: Sequence[RequestSample], limits: Limits
) -> Chart | None:
    curves = [cumulative(latency.values_s(samples)) for latency in latencies]
    if not curves[0].n:
        return None
    first = latencies[0]
    bounds = [bound for latency in latencies for bound in limits.get(latency.name, ())]
    data = [
        _curve_line(curve, name, dash)
        for curve, name, dash in zip(curves, NAMES, DASHES, strict=False)
    ]
    everything_ms = [v * 1e3 for curve in curves for v in (curve.values[0], curve.values[-1])]
    everything_ms += [bound_s * 1e3 for _, bound_s in bounds]
    drawn = sum(len(curve.values) for curve in curves) < sum(curve.n for curve in curves)
    return Chart(
        f"cdf-{first.name}",
        f"{first.title} (n = {curves[0].n:,})",
        data,
        layout(
            log_ms_axis(first.title, everything_ms),
            axis("share of samples, %", range=[0, 101], ticksuffix=" %"),
            [BLUE, ORANGE],
            shapes=[_bound_line(bound_s) for _, bound_s in bounds],
        ),
        also=[(text, "muted", "dotted") for text, _ in bounds],
        note=f"Drawn through {len(curves[0].values):,} of {curves[0].n:,} samples."
        if drawn
        else "",
    )


def _curve_line(curve: Curve, name: str, dash: str) -> Trace:
    values_ms = [max(LEAST_MS, value * 1e3) for value in curve.values]
    shape = {"dash": dash, "width": 2, "shape": "hv"}
    hover = "%{y:.2f} % within %{x:,.4g} ms<extra></extra>"
    shares = [100 * frac for frac in curve.frac]
    return {**line(name, values_ms, shares), "line": shape, "hovertemplate": hover}


def log_ms_axis(title: str, values_ms: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis over the values, with few enough ticks to be read."""
    low_ms, high_ms = max(LEAST_MS, min(values_ms)) * 0.9, max(LEAST_MS, max(values_ms)) * 1.15
    ticks_ms = _ticks(low_ms, high_ms)
    return axis(
        f"{title}, ms (logarithmic)",
        type="log",
        range=[log10(low_ms), log10(high_ms)],
        tickangle=0,
        tickvals=ticks_ms,
        ticktext=[f"{tick:,g}" for tick in ticks_ms],
    )


def _ticks(low: float, high: float) -> list[float]:
    for steps in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        powers = range(floor(log10(low)), floor(log10(high)) + 1)
        ticks = [round(step * 10.0**power, 9) for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    return ticks


def _bound_line(bound_s: float) -> dict[str, Any]:
    """A vertical line at one of the SLO's bounds; the legend has its text."""
    ends = {"x0": bound_s * 1e3, "x1": bound_s * 1e3, "yref": "paper", "y0": 0, "y1": 1}
    return {"type": "line", **ends, "line": {"dash": "dot", "width": 1.5}}


def against_rate(samples: Sequence[RequestSample]) -> list[Chart]:
    """TTFT and TPOT of the requests due in one stretch of time, against how many were due in it."""
    due_s = [sample.t_sched_s for sample in samples]
    first_s, last_s = min(due_s), max(due_s)
    bins = Bins.over(first_s, last_s, max(1, min(MOST_BINS, len(due_s) // BIN_REQUESTS)))
    rates_per_s = bins.per_s(due_s)
    charts = []
    for latency, colour in ((TTFT, BLUE), (TPOT, GREEN)):
        points = [
            (sample.t_sched_s, value_s)
            for sample in succeeded(samples)
            for value_s in latency.values_s([sample])
        ]
        if points:
            split = bins.split(points)
            charts.append(_against_rate(latency, colour, bins.width_s, rates_per_s, split))
    return charts


def _against_rate(
    latency: Latency,
    colour: str,
    width_s: float,
    rates_per_s: Sequence[float],
    split: Sequence[Sequence[float]],
) -> Chart:
    data = [
        dots(
            f"p{percent}",
            rates_per_s,
            in_ms(percentiles(split, percent)),
            customdata=[len(values) for values in split],
            hovertemplate=f"p{percent} %{{y:,.4g}} ms at %{{x:.3g}} requests/s "
            "(n = %{customdata})<extra></extra>",
            marker={"size": 7, "symbol": symbol},
        )
        for percent, symbol in ((50, "circle"), (90, "circle-open"))
    ]
    return Chart(
        f"rate-{latency.name}",
        f"{latency.title} against rate",
        data,
        layout(
            from_zero("offered rate, requests/s"),
            from_zero(f"{latency.title}, ms"),
            [colour, ORANGE],
        ),
        note=f"Each pair of points: the requests due within {width_s:g} s of each other.",
    )
