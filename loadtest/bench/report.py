"""The overhead report: Markdown, as a pure function of the rows of a result file.

`python -m loadtest.bench.report FILE` renders a file again. A summary comes first, then one section
per concurrency, then what is needed to trust the numbers: idle CPU, the client's own cost, and what
else the machine was doing.
"""

import sys
from collections.abc import Iterable, Sequence

from loadtest.bench.comparison import (
    Cell,
    Comparison,
    Spread,
    Versus,
    cells_of,
    comparisons,
)
from loadtest.bench.records import IdleRow, Row, RunRow, open_text, read_rows
from loadtest.metrics import Percentile, itls_s, ttfts_s
from loadtest.procstat import Role

CLIENT_LIMIT_CORES = 0.5  # above it the client's own stamps may lag
REST_LIMIT_CORES = 0.2  # above it, other processes took part in what was measured
SERVER_ROLES = frozenset(Role) - {Role.CLIENT, Role.REST}
NONE = "-"
NOTE = (
    "Throughput and p50: medians over pairs. Changes: median within pairs (least to greatest). "
    "p99: of the samples of all pairs. CPU: seconds per 1,000 output tokens, median over pairs."
)


def render(rows: Iterable[Row]) -> str:
    rows = list(rows)
    run = next(row for row in rows if isinstance(row, RunRow))
    compared = comparisons(rows)
    title = f"{run.labels['fleet']} against {run.labels['bare']}"
    parts = [heading(run, title), NOTE, _summary(run, compared)]
    parts += [_section(run, comparison) for comparison in compared]
    parts += [_idle(run, rows), conditions(cells_of(rows))]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(run: RunRow, title: str) -> str:
    """What was run, when and where."""
    machine = ", ".join(f"{key} {value}" for key, value in run.machine.items())
    settings = ", ".join(f"{key} {value}" for key, value in run.settings.items())
    return f"## {title}\n\n{run.started_at}, `{run.command}`\n\n{settings}\n\n{machine}"


def _summary(run: RunRow, compared: Sequence[Comparison]) -> str:
    bare, fleet = run.labels["bare"], run.labels["fleet"]
    header = [
        *("streams", f"tokens/s {bare}", f"tokens/s {fleet}", "ratio"),
        *("TTFT p50 change, ms", "ITL p50 change, ms", f"CPU {bare}", f"CPU {fleet}"),
    ]
    return table(header, [_summary_line(comparison) for comparison in compared])


def _summary_line(comparison: Comparison) -> list[str]:
    changes = (_milliseconds(comparison.p50(values)).change for values in (ttfts_s, itls_s))
    return [
        str(comparison.streams),
        *_versus(comparison.throughput(), "{:,.0f}", "{:.3f}"),
        *(spread(change, "{:+.2f}") for change in changes),
        *(number(spent, "{:.3f}") for spent in comparison.cpu(SERVER_ROLES)),
    ]


def _section(run: RunRow, comparison: Comparison) -> str:
    header = [run.labels["bare"], run.labels["fleet"]]
    same, both = comparison.same_replies()
    return "\n\n".join(
        [
            f"### {comparison.streams} streams, {len(comparison.bare)} pairs",
            table(["", *header, "change"], _latency_lines(comparison)),
            table(["CPU", *header], _cpu_lines(comparison)),
            f"Replies with the same text on both sides: {same} of {both}.",
        ]
    )


def _latency_lines(comparison: Comparison) -> list[list[str]]:
    lines = [["output tokens/s", *_versus(comparison.throughput(), "{:,.0f}", "x {:.3f}")]]
    for name, values_s in (("TTFT", ttfts_s), ("ITL", itls_s)):
        p50 = _milliseconds(comparison.p50(values_s))
        lines.append([f"{name} p50, ms", *_versus(p50, "{:.2f}", "{:+.2f}")])
        p99 = [_with_n(side) for side in comparison.pooled_p99(values_s)]
        lines.append([f"{name} p99, ms", *p99, ""])
    failed = [str(sum(cell.failed for cell in side)) for side in comparison.sides]
    return [*lines, ["failed requests", *failed, ""]]


def _cpu_lines(comparison: Comparison) -> list[list[str]]:
    rows = [(str(role), {role}) for role in Role if role is not Role.REST]
    lines = [
        [name, *(number(spent, "{:.4f}") for spent in comparison.cpu(roles))]
        for name, roles in [*rows, ("whole server", SERVER_ROLES)]
    ]
    return [line for line in lines if set(line[1:]) - {NONE, "0.0000"}]


def _idle(run: RunRow, rows: Iterable[Row]) -> str:
    lines = [
        [
            run.labels[row.side],
            f"{sum(row.cpu_s.values()) / row.window_s:.3f}",
            "; ".join(row.placement) or NONE,
        ]
        for row in rows
        if isinstance(row, IdleRow)
    ]
    return table(["idle", "CPU, cores", "processes that run the model"], lines) if lines else ""


def conditions(cells: Sequence[Cell]) -> str:
    """Whether the client or other processes took part in what was measured."""
    measured = [c for c in cells if c.chunks and Role.CLIENT in c.row.cpu_s]
    if not measured:
        return ""
    per_chunk_us = Spread.of([c.row.cpu_s[Role.CLIENT] / c.chunks * 1e6 for c in measured])
    client_cores = max(c.cores(Role.CLIENT) for c in measured)
    limited = "**client-limited**" if client_cores > CLIENT_LIMIT_CORES else "not the bottleneck"
    rest = Spread.of([c.cores(Role.REST) for c in measured])
    disturbed = "**disturbed**" if rest and rest.middle > REST_LIMIT_CORES else "quiet"
    return (
        f"Load client: {spread(per_chunk_us, '{:.1f}')} µs CPU a chunk, "
        f"at most {client_cores:.2f} of one core: {limited}. "
        f"Rest of the machine: {spread(rest, '{:.2f}')} cores: {disturbed}."
    )


def _milliseconds(versus: Versus) -> Versus:
    bare, fleet = (None if s is None else s * 1e3 for s in (versus.bare, versus.fleet))
    change = versus.change and Spread(*(s * 1e3 for s in versus.change))
    return Versus(bare, fleet, change)


def _versus(versus: Versus, form: str, change_form: str) -> list[str]:
    sides = [number(side, form) for side in (versus.bare, versus.fleet)]
    return [*sides, spread(versus.change, change_form)]


def spread(values: Spread | None, form: str) -> str:
    """Median (least to greatest)."""
    if values is None:
        return NONE
    middle, low, high = map(form.format, values)
    return f"{middle} ({low} to {high})"


def _with_n(value_s: Percentile | None) -> str:
    return f"{value_s.value * 1e3:.2f} (n={value_s.n:,})" if value_s else NONE


def number(value: float | None, form: str) -> str:
    return NONE if value is None else form.format(value)


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ruler, *lines))


if __name__ == "__main__":
    with open_text(sys.argv[1], "rt") as file:
        print(render(read_rows(file)), end="")
