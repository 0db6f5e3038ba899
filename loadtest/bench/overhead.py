"""What Tokenfleet costs over a bare vLLM server: `python -m loadtest.bench.overhead`.

Both servers run the same model with the same engine arguments, Tokenfleet with one engine through
its full path (HAProxy, gateway, switch, engine). They are started once and stay up; in every pair
each concurrency is run on one and then on the other, with the same prompts on both. `--aa` puts a
second bare server in Tokenfleet's place: what it finds is the noise of the method.

Rows go to `--out` as they come (`loadtest/bench/records.py`), the report
(`loadtest/bench/report.py`) to standard output. Exit status: 0 done, 1 a server did not start or
answer, 2 wrong command line or spec.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CalledProcessError

from loadtest.bench import alternate, machine
from loadtest.bench.options import add_load_options, plan_of
from loadtest.bench.plan import Subject
from loadtest.bench.records import SIDES, Row, RunRow, Side, row_file
from loadtest.bench.report import render
from loadtest.bench.servers import (
    Launch,
    ServerError,
    bare_launch,
    fleet_launch,
    free_port,
    resolved_spec,
    running,
    served_model,
)
from loadtest.client import Endpoint

LABELS = {"bare": "bare vLLM", "fleet": "Tokenfleet"}
LABELS_AA = {"bare": "bare vLLM", "fleet": "bare vLLM again"}


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # stop the servers
    try:
        with subjects(args) as both:
            rows = measure(args, both)
    except CalledProcessError as error:  # `tokenfleet check` has said what is wrong
        return error.returncode
    except (ServerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(render(rows), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m loadtest.bench.overhead",
        description="Tokenfleet with one engine against a bare vLLM server, alternating.",
    )
    add_load_options(p)
    p.add_argument("--url-bare", type=Endpoint.of, help="a running bare server, not a new one")
    p.add_argument("--url-fleet", type=Endpoint.of, help="a running Tokenfleet, not a new one")
    p.add_argument("--aa", action="store_true", help="a second bare server in Tokenfleet's place")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--idle-s", type=float, default=5.0, help="to look at idle CPU, per side")
    return p


@contextmanager
def subjects(args: argparse.Namespace) -> Iterator[dict[Side, Subject]]:
    """Both sides: already running where a URL is given, else started here and stopped after."""
    given: dict[Side, Endpoint | None] = {"bare": args.url_bare, "fleet": args.url_fleet}
    at = {side: endpoint for side, endpoint in given.items() if endpoint is not None}
    with tempfile.TemporaryDirectory(prefix="tokenfleet-bench-") as temporary:
        folder = Path(args.logs or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        launches = _launches(args, [side for side in SIDES if side not in at], folder)
        at |= {side: launch.endpoint for side, launch in launches.items()}
        with running(list(launches.values()), folder, args.start_timeout_s):
            salt = "again" if at["bare"] == at["fleet"] else ""
            yield {
                "bare": Subject("bare", at["bare"]),
                "fleet": Subject("fleet", at["fleet"], salt),
            }


def _launches(args: argparse.Namespace, sides: Sequence[Side], folder: Path) -> dict[Side, Launch]:
    if not sides:
        return {}
    spec = resolved_spec(args.spec)
    launches: dict[Side, Launch] = {}
    for side in sides:
        if side == "bare" or args.aa:
            launches[side] = bare_launch(side, spec, free_port())
        else:
            launches[side] = fleet_launch(side, spec, free_port(), folder)
    return launches


def measure(args: argparse.Namespace, both: Mapping[Side, Subject]) -> list[Row]:
    """All rows; in `args.out` too, one by one, so that a broken run leaves what it has."""
    rows: list[Row] = []
    with row_file(args.out) as write:

        def emit(row: Row) -> None:
            rows.append(row)
            write(row)

        emit(_run_row(args, same_server=bool(both["fleet"].salt)))
        model = served_model(both["bare"].endpoint)
        plan = plan_of(args, model=model, pairs=args.pairs, idle_s=args.idle_s)
        alternate.run(plan, both, emit)
    print(f"the load client waited {machine.waited_s():.2f} s for a core", file=sys.stderr)
    return rows


def _run_row(args: argparse.Namespace, same_server: bool) -> RunRow:
    names = ("pairs", "prompt_tokens", "output_tokens", "seed")
    return RunRow(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["python", "-m", "loadtest.bench.overhead", *sys.argv[1:]]),
        labels=LABELS_AA if args.aa or same_server else LABELS,
        settings={name.replace("_", " "): getattr(args, name) for name in names},
        machine=machine.describe(),
    )


if __name__ == "__main__":
    sys.exit(main())
