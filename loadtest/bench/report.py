"""The overhead report: Markdown, as a pure function of the rows of a result file.

`python -m loadtest.bench.report FILE` renders a file again.

What the tables say: throughput and p50 are medians over pairs of the pair's own value; ratios and
differences are taken within a pair, then their median with the range; p99 is of the samples of all
pairs pooled, with their number, since one pair alone has too few. CPU is the median over pairs.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from loadtest.bench.records import (
    SIDES,
    CellRow,
    IdleRow,
    RequestRow,
    Row,
    RunRow,
    Side,
    open_text,
    read_rows,
)
from loadtest.metrics import (
    RequestSample,
    itls_s,
    output_tokens,
    output_tokens_per_s,
    percentile,
    succeeded,
    ttfts_s,
)
from loadtest.procstat import Role

CLIENT_LIMIT_FRAC = 0.5  # of one core: above it the client's own stamps may lag
NONE = "-"

Samples = Sequence[RequestSample]


@dataclass(frozen=True, slots=True)
class Cell:
    """One (pair, streams, side) with its requests, by index."""

    row: CellRow
    samples: Samples

    @property
    def cpu_s_per_1000_tokens(self) -> Mapping[str, float]:
        thousands = output_tokens(self.samples) / 1000
        return {role: s / thousands for role, s in self.row.cpu_s.items()} if thousands else {}

    @property
    def chunks(self) -> int:
        return sum(len(s.itl_us) + (s.t1_s is not None) for s in self.samples)


def render(rows: Iterable[Row]) -> str:
    rows = list(rows)
    run = next(row for row in rows if isinstance(row, RunRow))
    cells = _cells(rows)
    parts = [_heading(run)]
    for streams in sorted({cell.row.streams for cell in cells}):
        parts.append(_section(run, streams, [c for c in cells if c.row.streams == streams]))
    parts += [_idle(run, rows), _client(cells)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(rows: Sequence[Row]) -> list[Cell]:
    samples: dict[tuple[int, int, Side], list[RequestRow]] = {}
    for row in rows:
        if isinstance(row, RequestRow):
            samples.setdefault((row.pair, row.streams, row.side), []).append(row)
    found = []
    for row in rows:
        if isinstance(row, CellRow):
            mine = samples.get((row.pair, row.streams, row.side), [])
            ordered = sorted(mine, key=lambda request: request.index)
            found.append(Cell(row, [request.sample for request in ordered]))
    return found


def _heading(run: RunRow) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in run.machine.items())
    settings = ", ".join(f"{key} {value}" for key, value in run.settings.items())
    return (
        f"## {run.labels['fleet']} against {run.labels['bare']}\n\n"
        f"{run.started_at}, `{run.command}`\n\n{settings}\n\n{machine}"
    )


def _section(run: RunRow, streams: int, cells: Sequence[Cell]) -> str:
    bare, fleet = _sides(cells)
    title = f"### {streams} stream{'s' if streams > 1 else ''}, {len(bare)} pairs"
    header = [run.labels["bare"], run.labels["fleet"], "difference"]
    latency = _table(["", *header], _latency_lines(bare, fleet))
    cpu = _table(["CPU-s per 1,000 output tokens", *header[:2]], _cpu_lines(bare, fleet))
    return f"{title}\n\n{latency}\n\n{cpu}\n\n{_same_replies(bare, fleet)}"


def _sides(cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Bare and fleet cells, entry i of both from the same pair; pairs that lack a side left out."""
    by_pair = {side: {c.row.pair: c for c in cells if c.row.side == side} for side in SIDES}
    pairs = sorted(by_pair["bare"].keys() & by_pair["fleet"].keys())
    return [by_pair["bare"][p] for p in pairs], [by_pair["fleet"][p] for p in pairs]


def _latency_lines(bare: Sequence[Cell], fleet: Sequence[Cell]) -> list[list[str]]:
    lines = [_throughput_line(bare, fleet)]
    for name, values_s in (("TTFT", ttfts_s), ("ITL", itls_s)):
        lines.append([f"{name} p50, ms", *_p50(values_s, bare, fleet)])
        lines.append([f"{name} p99, ms", _p99(values_s, bare), _p99(values_s, fleet), ""])
    failed = [sum(len(c.samples) - len(succeeded(c.samples)) for c in s) for s in (bare, fleet)]
    lines.append(["failed requests", *map(str, failed), ""])
    return lines


def _throughput_line(bare: Sequence[Cell], fleet: Sequence[Cell]) -> list[str]:
    rates = [[output_tokens_per_s(c.samples) for c in side] for side in (bare, fleet)]
    ratios = [f / b for b, f in zip(*rates, strict=True) if b]
    medians = [f"{median(side):,.0f}" if side else NONE for side in rates]
    return ["output tokens/s", *medians, _spread(ratios, "x {:.3f}")]


def _p50(
    values_s: Callable[[Samples], list[float]], bare: Sequence[Cell], fleet: Sequence[Cell]
) -> list[str]:
    """Each side's median over pairs, and the median difference within a pair."""
    pairs = [
        (b.value * 1e3, f.value * 1e3)
        for b, f in (
            (percentile(values_s(b.samples), 50), percentile(values_s(f.samples), 50))
            for b, f in zip(bare, fleet, strict=True)
        )
        if b and f
    ]
    if not pairs:
        return [NONE, NONE, NONE]
    differences = [f - b for b, f in pairs]
    return [*(f"{median(side):.2f}" for side in zip(*pairs, strict=True)), _spread(differences)]


def _p99(values_s: Callable[[Samples], list[float]], cells: Sequence[Cell]) -> str:
    pooled = percentile((value for c in cells for value in values_s(c.samples)), 99)
    return f"{pooled.value * 1e3:.2f} (n={pooled.n:,})" if pooled else NONE


def _spread(values: Sequence[float], form: str = "{:+.2f}") -> str:
    """Median (least to greatest)."""
    if not values:
        return NONE
    middle, low, high = (form.format(v) for v in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def _cpu_lines(bare: Sequence[Cell], fleet: Sequence[Cell]) -> list[list[str]]:
    roles = [role for role in Role if any(role in c.row.cpu_s for c in (*bare, *fleet))]
    lines = [[role, _cpu(role, bare), _cpu(role, fleet)] for role in roles]
    lines = [line for line in lines if {*line[1:]} - {NONE, "0.0000"}]
    return [*lines, ["all but the load client", _cpu(None, bare), _cpu(None, fleet)]]


def _cpu(role: Role | None, cells: Sequence[Cell]) -> str:
    """Median over cells; of every server process where `role` is None."""
    spent = [
        sum(s for name, s in c.cpu_s_per_1000_tokens.items() if role in (None, name))
        - (c.cpu_s_per_1000_tokens.get(Role.CLIENT, 0.0) if role is None else 0.0)
        for c in cells
        if role is None or role in c.cpu_s_per_1000_tokens
    ]
    return f"{median(spent):.4f}" if spent else NONE


def _same_replies(bare: Sequence[Cell], fleet: Sequence[Cell]) -> str:
    both = [
        (b, f)
        for x, y in zip(bare, fleet, strict=True)
        for b, f in zip(x.samples, y.samples, strict=False)
        if b.error is None and f.error is None
    ]
    same = sum(b.text_crc32 == f.text_crc32 for b, f in both)
    return f"Replies with the same text on both sides: {same} of {len(both)}."


def _idle(run: RunRow, rows: Iterable[Row]) -> str:
    lines = [
        [run.labels[row.side], f"{sum(row.cpu_s.values()) / row.window_s:.3f}", _placement(row)]
        for row in rows
        if isinstance(row, IdleRow)
    ]
    return _table(["idle", "CPU, cores", "processes that run the model"], lines) if lines else ""


def _placement(row: IdleRow) -> str:
    return "; ".join(row.placement) or NONE


def _client(cells: Sequence[Cell]) -> str:
    """What measuring itself cost, so that a client-limited run is seen."""
    measured = [c for c in cells if c.chunks and Role.CLIENT in c.row.cpu_s]
    if not measured:
        return ""
    per_chunk_us = [c.row.cpu_s[Role.CLIENT] / c.chunks * 1e6 for c in measured]
    share = max(c.row.cpu_s[Role.CLIENT] / c.row.window_s for c in measured)
    verdict = "**client-limited**" if share > CLIENT_LIMIT_FRAC else "not the bottleneck"
    return (
        f"Load client: {_spread(per_chunk_us, '{:.1f}')} µs CPU a chunk, "
        f"at most {share:.2f} of one core ({verdict})."
    )


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ruler, *lines))


if __name__ == "__main__":
    with open_text(sys.argv[1], "rt") as file:
        print(render(read_rows(file)), end="")
