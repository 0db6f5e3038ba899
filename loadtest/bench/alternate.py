"""Runs a plan: both sides in turn, cell by cell, each row handed on as soon as it is known."""

import sys
import time
from collections.abc import Callable, Mapping

from loadtest.bench.cells import CellResult, Load, run_cell
from loadtest.bench.plan import Plan, Subject, load_of, order, render_chat
from loadtest.bench.records import CellRow, IdleRow, RequestRow, Row, Side
from loadtest.bench.servers import ServerError
from loadtest.metrics import RequestSample, output_tokens_per_s, succeeded
from loadtest.procstat import Role, placement, read_meters, role_of, server_processes, spent_s
from loadtest.prompts import Fit, prompt

PROBE_WORDS = (50, 150)
SETTLE_S = 5.0
"""Between the servers' start and a look at what they spend when idle."""

Emit = Callable[[Row], None]


def run(plan: Plan, both: Mapping[Side, Subject], emit: Emit) -> None:
    """Raises ServerError where the bare server does not answer a plain request."""
    words = fit_words(plan, both["bare"])
    time.sleep(SETTLE_S if plan.idle_s else 0)
    for subject in both.values():
        emit(_idle_row(subject, plan.idle_s))
    for pair in range(plan.pairs):
        for streams in plan.streams:
            for side in order(pair):
                cell(plan, both[side], pair, streams, words, emit)


def fit_words(plan: Plan, subject: Subject) -> int:
    """Words of a prompt that has about `plan.prompt_tokens` tokens, template included."""
    probes = [
        render_chat(plan.model, subject.endpoint, prompt(words, "probe"), output_tokens=1)
        for words in PROBE_WORDS
    ]
    result = run_cell(subject.endpoint, Load([], [probes], plan.timeout_s), server=())
    points = zip(PROBE_WORDS, map(_prompt_tokens, result.samples), strict=True)
    return Fit.through(*points).words(plan.prompt_tokens)


def _prompt_tokens(sample: RequestSample) -> int:
    if sample.error or sample.prompt_tokens is None:
        raise ServerError(f"no proper answer to a plain chat request: {sample.error}")
    return sample.prompt_tokens


def cell(plan: Plan, subject: Subject, pair: int, streams: int, words: int, emit: Emit) -> None:
    """Runs one cell; emits its row and those of its requests."""
    load = load_of(plan, subject, pair, streams, words)
    result = run_cell(subject.endpoint, load, server_processes(subject.endpoint.port))
    emit(_cell_row(subject.side, pair, streams, result))
    for index, sample in enumerate(result.samples):
        emit(RequestRow(pair=pair, streams=streams, side=subject.side, index=index, sample=sample))
    _progress(f"pair {pair + 1}/{plan.pairs}, {streams} streams, {subject.side}", result)


def _cell_row(side: Side, pair: int, streams: int, result: CellResult) -> CellRow:
    cpu_s = {str(role): seconds for role, seconds in result.cpu_s.items()}
    return CellRow(pair=pair, streams=streams, side=side, window_s=result.window_s, cpu_s=cpu_s)


def _progress(cell: str, result: CellResult) -> None:
    good = len(succeeded(result.samples))
    reason = next((s.error for s in result.samples if s.error), "")
    print(
        f"{cell}: {output_tokens_per_s(result.samples):,.0f} tokens/s, "
        f"{good}/{len(result.samples)} requests in {result.window_s:.1f} s {reason}",
        file=sys.stderr,
    )


def _idle_row(subject: Subject, window_s: float) -> IdleRow:
    server = server_processes(subject.endpoint.port)
    started_s, before = time.monotonic(), read_meters(server)
    time.sleep(window_s)  # the measurement itself: what is spent while nothing is asked
    spent = spent_s(before, read_meters(server))
    engines = [p for p in server if role_of(p.title) is Role.ENGINE_CORE]
    return IdleRow(
        side=subject.side,
        window_s=time.monotonic() - started_s,
        cpu_s={str(role): seconds for role, seconds in spent.items()},
        placement=[f"{p.title}: {placement(p)}" for p in engines],
    )
