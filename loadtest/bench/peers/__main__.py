"""Tokenfleet beside bare vLLM and Ray Serve LLM: `make bench-peers`.

The same model, engine arguments and load for every side, one server at a time, in alternating
rounds; then each side once more with two engines (bare vLLM is one), of which one is killed while
streams run. Rows go to `--out` as they come (`loadtest/bench/records.py`), the report
(`loadtest/bench/peers/report.py`) to standard output. Exit status: 0 done, 1 a side did not start
or answer (the report has the others), 2 wrong command line or spec.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from loadtest.bench import machine
from loadtest.bench.options import add_load_options, plan_of
from loadtest.bench.peers import descendants, rounds, sides
from loadtest.bench.peers.killed import KillPlan
from loadtest.bench.peers.report import render
from loadtest.bench.records import Row, RunRow, row_file
from loadtest.bench.servers import resolved_spec


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stop the servers
    if sides.IN_PEERS_VENV & set(args.sides) and not sides.PEERS_PYTHON.exists():
        print(f"{sides.PEERS_PYTHON} is missing: make bench-peers sets it up", file=sys.stderr)
        return 2
    try:
        spec = resolved_spec(args.spec)
    except CalledProcessError as error:  # `tokenfleet check` has said what is wrong
        return error.returncode
    descendants.adopt_orphans()
    rows: list[Row] = []
    # Below /tmp whatever TMPDIR says: socket paths must stay under 108 characters.
    with (
        tempfile.TemporaryDirectory(prefix="peers-", dir="/tmp", ignore_cleanup_errors=True) as own,
        tempfile.TemporaryDirectory(prefix="peers-logs-") as logs,
        row_file(args.out) as write,
    ):

        def emit(row: Row) -> None:
            rows.append(row)
            write(row)

        emit(_run_row(args))
        problems = rounds.run(_bench(args, spec, Path(own), Path(args.logs or logs)), emit)
    print(render(rows), end="")
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m loadtest.bench.peers",
        description="Tokenfleet, bare vLLM and Ray Serve LLM under the same load, alternating.",
    )
    add_load_options(p)
    names = ",".join(sides.LABELS)
    p.add_argument("--sides", type=_sides, default=tuple(sides.LABELS), metavar=names)
    p.add_argument("--rounds", type=int, default=3, help="0: only the runs with a kill")
    p.add_argument("--kill-streams", type=int, default=16, help="0: no runs with a kill")
    p.add_argument("--kill-run-s", type=float, default=90.0, help="the kill comes after a third")
    p.add_argument("--kill-timeout-s", type=float, default=60.0, help="the same, where one kills")
    return p


def _sides(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - sides.LABELS.keys():
        raise argparse.ArgumentTypeError(f"{sorted(unknown)} not among {list(sides.LABELS)}")
    return chosen


def _run_row(args: argparse.Namespace) -> RunRow:
    names = ("rounds", "prompt_tokens", "output_tokens", "kill_run_s", "seed")
    peers = sides.peers_versions() if sides.IN_PEERS_VENV & set(args.sides) else {}
    return RunRow(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "loadtest.bench.peers", *sys.argv[1:]]),
        labels={side: sides.LABELS[side] for side in args.sides},
        settings={name.replace("_", " "): getattr(args, name) for name in names},
        machine=machine.describe() | peers,
    )


def _bench(
    args: argparse.Namespace, spec: dict[str, Any], folder: Path, logs: Path
) -> rounds.Bench:
    kill = KillPlan(args.kill_streams, args.kill_run_s, args.kill_timeout_s)
    plan = plan_of(args, model=spec["models"][0]["name"], pairs=args.rounds, idle_s=0.0)
    return rounds.Bench(
        sides=args.sides,
        plan=plan,
        kill=kill if args.kill_streams else None,
        spec=spec,
        folder=folder,
        logs=logs,
        start_timeout_s=args.start_timeout_s,
    )


if __name__ == "__main__":
    sys.exit(main())
