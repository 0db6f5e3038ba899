"""The report's numbers as HTML: headline, figures at a glance, tables."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from loadtest.latencies import LATENCIES
from loadtest.number_text import NONE, faults, ms, number, per_s, percent, share
from loadtest.report.engines import Engine
from loadtest.report.html_table import facts, pairs, table
from loadtest.run_folder import Mark
from loadtest.settings import flat
from loadtest.summary_schema import ClauseResult, Distribution, Group, Share, Summary, Verdict

HEADLINES = {
    Verdict.PASS: "Pass: the SLO holds",
    Verdict.BREACH: "Breach: the SLO does not hold",
    Verdict.INVALID: "Invalid: this run does not measure the server",
    Verdict.NO_SLO: "No SLO: nothing to hold this run against",
}


def headline(summary: Summary) -> str:
    """The verdict, what the server was put through, and the reasons for the verdict."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in summary.reasons)
    css_class = summary.verdict.value.replace(" ", "-").lower()
    text = f"<p>{escape(HEADLINES[summary.verdict])}</p>"
    if summary.faults:
        text += f"<p>{escape(faults(summary.faults))}.</p>"
    if reasons:
        text += f"<ul>{reasons}</ul>"
    return f'<div class="verdict {css_class}" role="status">{text}</div>'


def glance(summary: Summary) -> str:
    """The handful of numbers that say how the run went."""
    load = summary.load
    tiles = [
        ("Offered", per_s(load.offered_per_s, "req"), f"{load.offered:,} requests"),
        ("Achieved", per_s(load.achieved_per_s, "req"), f"{load.succeeded:,} answered"),
        ("Output", per_s(summary.tokens.output_per_s, "tok"), f"{summary.tokens.output:,} tokens"),
        *_goodput(summary),
        *_p99_tile("TTFT p99", summary.latency["ttft"]),
        *_p99_tile("TPOT p99", summary.latency["tpot"]),
        ("Failed", f"{load.failed:,}", f"and {load.missed:,} missed"),
    ]
    return "".join(
        f'<div class="tile"><h3>{escape(name)}</h3><p>{escape(value)}</p>'
        f"<small>{escape(beside)}</small></div>"
        for name, value, beside in tiles
    )


def _goodput(summary: Summary) -> list[tuple[str, str, str]]:
    good = summary.good
    if good is None:
        return []
    attained = f"{percent(good.low)} to {percent(good.high)}"
    return [
        ("Goodput", per_s(summary.goodput_per_s, "req"), f"{good.count:,} good requests"),
        ("Attainment", percent(good.frac), attained),
    ]


def _p99_tile(name: str, found: Distribution | None) -> list[tuple[str, str, str]]:
    return [(name, ms(found.p99_s), f"n = {found.n:,}")] if found else []


def slo(clauses: Sequence[ClauseResult]) -> str:
    lines = [
        [clause.text, "met" if clause.met else "breach", clause.measured_text, f"{clause.n:,}"]
        for clause in clauses
    ]
    return table(["bound", "verdict", "measured", "n"], lines)


def load(summary: Summary) -> str:
    asked, tokens = summary.load, summary.tokens
    lines = [
        ("offered", f"{asked.offered:,} ({per_s(asked.offered_per_s, 'req')})"),
        ("answered", f"{asked.succeeded:,} ({per_s(asked.achieved_per_s, 'req')})"),
        ("failed", f"{asked.failed:,}"),
        ("missed: due, but never sent", f"{asked.missed:,}"),
        ("in flight, at most", f"{asked.in_flight_max:,}"),
        ("SLO attainment (95 % interval)", share(summary.good)),
        ("goodput", per_s(summary.goodput_per_s, "req")),
        ("output tokens", f"{tokens.output:,} ({per_s(tokens.output_per_s, 'tok')})"),
        ("prompt tokens", f"{tokens.prompt:,} ({per_s(tokens.prompt_per_s, 'tok')})"),
        ("prefix hit, by usage", percent(summary.prefix_hit_frac)),
        ("right answers (95 % interval)", share(summary.right)),
        ("measured for", f"{asked.wall_s:,.1f} s, sending for {asked.span_s:,.1f} s"),
        ("warm-up requests, left out", f"{summary.warm_up_requests:,}"),
    ]
    return pairs(lines)


def latencies(found: Mapping[str, Distribution | None]) -> str:
    header = ["latency", "p50", "p90", "p95", "p99", "max", "mean", "n"]
    return table(
        header,
        [
            [latency.title, *_percentiles(distribution), f"{distribution.n:,}"]
            for latency in LATENCIES
            if (distribution := found.get(latency.name))
        ],
    )


def _percentiles(found: Distribution) -> list[str]:
    values_s = (found.p50_s, found.p90_s, found.p95_s, found.p99_s, found.max_s, found.mean_s)
    return [ms(value_s) for value_s in values_s]


def groups(name: str, found: Mapping[str, Group]) -> str:
    """One line for each kind or tenant; empty where all requests are of one."""
    header = [name, "offered", "unanswered", "attainment, %", "TTFT p50", "TTFT p99 (n)",
              "TPOT p99 (n)", "E2E p99 (n)", "output", "right, %"]  # fmt: skip
    return table(header, [_group(*item) for item in found.items()]) if len(found) > 1 else ""


def _group(name: str, group: Group) -> list[str]:
    ttft, tpot, e2e = (group.latency[latency] for latency in ("ttft", "tpot", "e2e"))
    return [
        name,
        f"{group.load.offered:,}",
        f"{group.load.failed + group.load.missed:,}",
        _brief(group.good),
        ms(ttft.p50_s if ttft else None),
        *(_p99(distribution) for distribution in (ttft, tpot, e2e)),
        per_s(group.tokens.output_per_s, "tok"),
        _brief(group.right),
    ]


def _brief(found: Share | None) -> str:
    """In percent, with its interval: `98.9 (97.6 to 99.4)`."""
    if found is None or found.frac is None or found.low is None or found.high is None:
        return NONE
    frac, low, high = (f"{100 * value:.1f}" for value in (found.frac, found.low, found.high))
    return f"{frac} ({low} to {high})"


def _p99(found: Distribution | None) -> str:
    return NONE if found is None else f"{ms(found.p99_s)} ({found.n:,})"


def errors(summary: Summary) -> str:
    offered = summary.load.offered
    lines = [
        [name, f"{count:,}", percent(count / offered)] for name, count in summary.errors.items()
    ]
    return table(["error", "requests", "of all offered"], lines)


def engines(found: Sequence[Engine]) -> str:
    total = sum(engine.output_tokens or 0 for engine in found)
    header = ["engine", "running, mean", "waiting, mean", "output tokens", "share", "prefix hit"]
    return table(header, [_engine(engine, total) for engine in found])


def _engine(engine: Engine, total: float) -> list[str]:
    share_frac = (
        engine.output_tokens / total if engine.output_tokens is not None and total else None
    )
    return [
        engine.name,
        number(engine.mean_running, 1),
        number(engine.mean_waiting, 1),
        number(engine.output_tokens),
        percent(share_frac),
        percent(engine.prefix_hit_frac),
    ]


def marks(found: Sequence[Mark]) -> str:
    """What the numbers in the timeline stand for."""
    items = "".join(f"<li>{escape(mark.text)}</li>" for mark in found)
    return f'<p>Marks, by number:</p><ol class="marks">{items}</ol>' if found else ""


def settings(found: Mapping[str, Any]) -> str:
    return facts(flat(found))
