"""Locust in a process of its own, headless: for `tokenfleet loadtest run` and for who runs trials.

Locust patches the whole process it is imported into; nobody else should live there.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from loadtest.run_records import ENVIRONMENT
from loadtest.runtime.options import KEY_VARIABLE, add_key_option, add_load_options
from loadtest.runtime.run_state import WRONG_INPUT

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"


class RunError(Exception):
    """A run could not begin, so there is nothing to look at; the message has Locust's status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlessRun:
    """`scenario` is a name or a YAML file, `settings` are laid over it (`arrivals.rate_per_s=4`),
    `processes` is how many workers: None is one process that does it all."""

    scenario: str
    host: str
    out: Path | None = None
    variant: str = "cpu"
    model: str | None = None
    tokenizer: str | None = None
    api_key: str | None = None
    settings: tuple[str, ...] = ()
    processes: int | None = None
    locustfile: Path = LOCUSTFILE

    @property
    def command(self) -> list[str]:
        options = {
            "--scenario": self.scenario,
            "--host": self.host,
            "--variant": self.variant,
            "--model": self.model,
            "--tokenizer": self.tokenizer,
            "--out": self.out,
            "--processes": self.processes,
        }
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        given += [f"--set={setting}" for setting in self.settings]
        quiet = ["--headless", "--loglevel=WARNING"]
        return [sys.executable, "-m", "locust", "-f", str(self.locustfile), *quiet, *given]

    @property
    def environment(self) -> Mapping[str, str]:
        """The key goes this way because a command line can be seen by everyone."""
        key = {} if self.api_key is None else {KEY_VARIABLE: self.api_key}
        return {**os.environ, **key, "PYTHONUNBUFFERED": "1"}


def run_trial(trial: HeadlessRun, out: Path, *, log: Path | None = None) -> Path:
    """Runs it into `out`, a new folder or an empty one, and returns that; what Locust says is
    appended to `log` where one is given.

    Requests that failed are in the folder. Raises RunError where the run could not begin.
    """
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty: every run has a folder of its own")
    status = _run(replace(trial, out=out), log)
    if status == WRONG_INPUT or not (out / ENVIRONMENT).exists():
        where = "" if log is None else f"; see {log}"
        raise RunError(f"{trial.scenario} on {trial.host}: Locust ended with {status}{where}")
    return out


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Which load, for which server: what `run_of` reads."""
    add_load_options(parser, "scenario")
    add_key_option(parser, default=os.environ.get(KEY_VARIABLE))
    parser.add_argument("--host", required=True, help="the server, as http://host:port")


def run_of(args: argparse.Namespace) -> HeadlessRun:
    """One run, with the arguments of `add_target_arguments`."""
    return HeadlessRun(
        scenario=args.scenario,
        host=args.host,
        out=None if args.out is None else Path(args.out),
        variant=args.variant,
        model=args.model,
        tokenizer=args.tokenizer,
        api_key=args.api_key,
        settings=tuple(args.set),
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("--processes", type=int, metavar="N",
                        help="load from N worker processes; default: one does it all")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """`tokenfleet loadtest run`, with the arguments of `add_run_arguments`.

    Exit status: 0 done, 1 no request succeeded, 2 the run did not come to its end, 3 wrong command
    line, scenario or server.
    """
    return _run(replace(run_of(args), processes=args.processes), None)


def _run(trial: HeadlessRun, log: Path | None) -> int:
    """Locust's exit status. What ends this process ends Locust first."""
    with open(log or os.devnull, "ab") as file:
        output = None if log is None else file
        process = subprocess.Popen(
            trial.command, env=dict(trial.environment), stdout=output, stderr=output
        )
        with _forwarded(process):
            return process.wait()


@contextmanager
def _forwarded(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM goes on to Locust; SIGINT it has got from the terminal itself. Either way it writes
    what it has, and this process waits for that."""

    def forward(signum: int, _: FrameType | None) -> None:
        if signum == signal.SIGTERM:
            process.send_signal(signum)

    before = {s: signal.signal(s, forward) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
