"""Runs the peers benchmark: one server at a time, round by round, then each with an engine killed.

Only one server is up at any time: on a small machine an idle Ray cluster beside the measured server
would take part in the measurement. So sides alternate by rounds, each of which starts, measures
and stops every side once; odd rounds go backwards, so that slow drift cancels out.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loadtest.bench import alternate
from loadtest.bench.cells import Load, run_cell
from loadtest.bench.peers import killed, sides
from loadtest.bench.peers.descendants import end_all, engine_cores
from loadtest.bench.peers.killed import KillPlan
from loadtest.bench.plan import Plan, Subject, load_of, render_chat
from loadtest.bench.records import Row, Side, StartRow
from loadtest.bench.servers import PROBE_EVERY_S, ServerError, running
from loadtest.prompts import prompt

ENGINES_TO_KILL_ONE_OF = 2
WARM_UP_PAIR = -1  # its prompts are of no round

Emit = Callable[[Row], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`folder`: for the servers' own files, with a short path; `logs`: for what they print."""

    sides: Sequence[Side]
    plan: Plan
    kill: KillPlan | None
    spec: Mapping[str, Any]
    folder: Path
    logs: Path
    start_timeout_s: float

    def new_folder(self) -> Path:
        """A folder for one server; its name is a number, for HAProxy's socket below it to fit."""
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return folder


def run(bench: Bench, emit: Emit) -> list[str]:
    """What did not work, in words: a side that does not start is left out of its round."""
    problems: list[str] = []
    for pair in range(bench.plan.pairs):
        for side in order(bench.sides, pair):
            _guarded(problems, side, partial(_round, bench, side, pair, emit))
    for side in bench.sides if bench.kill else ():
        if side != sides.BARE_PEERS:  # one engine that dies is alike in both versions
            _guarded(problems, side, partial(_killed, bench, side, emit))
    return problems


def order(of: Sequence[Side], pair: int) -> list[Side]:
    return list(of) if pair % 2 == 0 else list(reversed(of))


def _guarded(problems: list[str], side: Side, part: Callable[[], None]) -> None:
    try:
        part()
    except (ServerError, OSError) as error:
        print(f"{side}: {error}", file=sys.stderr)
        problems.append(f"{side}: {str(error).splitlines()[0]}")


def _round(bench: Bench, side: Side, pair: int, emit: Emit) -> None:
    with started(bench, side, 1, pair, emit) as subject:
        words = alternate.fit_words(bench.plan, subject)
        for streams in bench.plan.streams:
            alternate.cell(bench.plan, subject, pair, streams, words, emit)


def _killed(bench: Bench, side: Side, emit: Emit) -> None:
    assert bench.kill is not None
    engines = ENGINES_TO_KILL_ONE_OF if side in sides.WITH_ENGINES else 1
    with started(bench, side, engines, None, emit) as subject:
        words = alternate.fit_words(bench.plan, subject)
        _warm_up(bench.plan, subject, bench.kill.streams, words)
        if len(cores := engine_cores()) != engines:
            raise ServerError(f"{engines} EngineCore processes expected, not {len(cores)}")
        for row in killed.run(bench.plan, bench.kill, subject, words, cores):
            emit(row)
    print(f"{side}: done with an engine killed", file=sys.stderr)


def _warm_up(plan: Plan, subject: Subject, streams: int, words: int) -> None:
    """One request per stream: a replica's first answer takes seconds, which no kill is to blame
    for."""
    first = load_of(plan, subject, WARM_UP_PAIR, streams, words).warm_up
    run_cell(
        subject.endpoint, Load([], [[request] for request in first], plan.timeout_s), server=()
    )


@contextmanager
def started(
    bench: Bench, side: Side, engines: int, pair: int | None, emit: Emit
) -> Iterator[Subject]:
    """A server with all its engines up, which has answered; nothing of it is left afterwards."""
    name = f"{side}-{'kill' if pair is None else pair}"
    site = sides.Site(bench.spec, bench.new_folder(), engines)
    launch = sides.launch(side, site)
    (bench.logs / name).mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    try:
        with running([launch], bench.logs / name, bench.start_timeout_s):
            subject = Subject(side, launch.endpoint)
            _wait_whole(bench, subject, site)
            ready_s = time.monotonic() - began_s
            emit(StartRow(side=side, pair=pair, engines=engines, ready_s=ready_s))
            yield subject
    finally:
        end_all()


def _wait_whole(bench: Bench, subject: Subject, site: sides.Site) -> None:
    """Raises ServerError."""
    request = render_chat(bench.plan.model, subject.endpoint, prompt(5, "ready"), output_tokens=1)
    deadline_s = time.monotonic() + bench.start_timeout_s
    error: str | None = "not all engines are up"
    while time.monotonic() < deadline_s:
        if sides.is_whole(subject.side, subject.endpoint, site):
            load = Load([], [[request]], bench.plan.timeout_s)
            error = run_cell(subject.endpoint, load, server=()).samples[0].error
            if error is None:
                return
        time.sleep(PROBE_EVERY_S)
    raise ServerError(f"no answer after {bench.start_timeout_s:g} s: {error}")
