"""A comparison as a Markdown table, and as a page with speed and quality beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest import text_table
from loadtest.acceleration.measured import Measured
from loadtest.acceleration.variants import AGAIN
from loadtest.acceleration.verdict import Verdict, points
from loadtest.number_text import NONE, ms
from loadtest.report.chart import BLUE, ORANGE, Chart, axis, dots, layout
from loadtest.report.document import Section, document
from loadtest.report.html_table import facts, table

MIB = 2**20


def header(found: Sequence[Measured]) -> list[str]:
    return [
        *("variant", "tokens/s", "TTFT p50", "TPOT p50", "weights, MB", "memory, MiB"),
        *("KV tokens", "start, s", *_tasks(found), "agreement", "KL, nats", "perplexity"),
    ]


def lines(found: Sequence[Measured]) -> list[list[str]]:
    return [_line(each, _tasks(found)) for each in found]


def markdown(found: Sequence[Measured], said: Verdict) -> str:
    text = text_table.markdown(header(found), lines(found))
    failed = "".join(f"\n{each.variant}: {each.failure}" for each in found if each.failure)
    return f"{text}\n{failed}\n{said.sentence}\n"


def page(found: Sequence[Measured], said: Verdict, about: Mapping[str, Any]) -> str:
    failed = [(each.variant, each.failure) for each in found if each.failure]
    sections = [
        Section("verdict", "Verdict", f"<p>{said.sentence}</p>", [_pareto(found, said)]),
        Section("variants", "Variants", table(header(found), lines(found)) + facts(failed)),
        Section("configuration", "Configuration", facts([(k, str(v)) for k, v in about.items()])),
    ]
    return document(f"Acceleration: {about['spec']}", str(about["scenario"]), sections)


def _tasks(found: Sequence[Measured]) -> list[str]:
    quality = next((each.quality for each in found if each.quality is not None), None)
    return [] if quality is None else list(quality.matches)


def _line(each: Measured, tasks: Sequence[str]) -> list[str]:
    speed, quality = each.speed, each.quality
    if speed is None or quality is None:
        return [each.variant, *[NONE] * (10 + len(tasks))]
    kl = quality.divergence_nats
    return [
        each.variant,
        f"{speed.output_tokens_per_s:,.0f}",
        *(ms(speed.ttft_s), ms(speed.tpot_s)),
        f"{each.weight_bytes / 1e6:,.1f}",
        f"{each.memory_bytes / MIB:,.0f}",
        f"{each.kv_tokens:,}",
        f"{each.start_s:.0f}",
        *(f"{quality.matches[task].frac:.1%}" for task in tasks),
        NONE if quality.agreement_frac is None else f"{quality.agreement_frac:.2%}",
        NONE if kl is None else f"{kl:.4f}",
        NONE if quality.perplexity is None else f"{quality.perplexity:.3f}",
    ]


def _pareto(found: Sequence[Measured], said: Verdict) -> Chart:
    of = [each for each in points(found) if each.variant != AGAIN]
    groups = [
        ("none is faster and as right", [each for each in of if each.variant in said.front]),
        ("another is", [each for each in of if each.variant not in said.front]),
    ]
    data = [
        dots(
            name, [each.speed for each in group], [100 * each.quality for each in group],
            size=9, text=[each.variant for each in group], textposition="top center",
        )
        for name, group in groups
    ]  # fmt: skip
    for trace in data:
        trace["mode"] = "markers+text"
    shape = layout(
        axis("output tokens a second, of the base's"), axis("exact match, %"), (BLUE, ORANGE)
    )
    return Chart("pareto", "Speed and quality", data, shape, wide=True)
