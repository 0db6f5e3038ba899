"""How long starting takes: `python -m loadtest.bench.starts [--spec SPEC] [--runs 3] [--kills 2]`.

    cluster   from the launcher's start until a request is answered
    engine    from the kill of the only engine until a request that came then has its first token

Only the spec's first model is started, as one engine behind one gateway. An engine's time has in it
what Ray and Serve take to see that it is gone and to start another process. Standard output is a
Markdown table; what the engines themselves say of their starts follows, on standard error.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loadtest.argument_types import count
from loadtest.bench.comparison import Spread
from loadtest.bench.servers import (
    ServerError,
    fleet_launch,
    free_port,
    resolved_spec,
    running,
)
from loadtest.json_server import JsonServer
from loadtest.json_server import ServerError as AnswerError
from loadtest.text_table import markdown

START_TIMEOUT_S = 900.0
SAID = re.compile(r"engine of \S+ started in (.*)")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    spec = _patient(resolved_spec(args.spec))
    clusters_s: list[float] = []
    engines_s: list[float] = []
    try:
        for _ in range(args.runs):
            with TemporaryDirectory(prefix="starts-") as folder:
                _run(spec, Path(folder), args.kills, clusters_s, engines_s)
    except (ServerError, AnswerError) as error:
        print(error, file=sys.stderr)
        return 1
    rows = [
        [what, f"{seconds.middle:.1f}", f"{seconds.low:.1f} to {seconds.high:.1f}", str(len(found))]
        for what, found in (("cluster", clusters_s), ("engine", engines_s))
        if (seconds := Spread.of(found))
    ]
    print(markdown(["start of", "seconds, median", "least to greatest", "n"], rows))
    return 0


def _run(
    spec: dict[str, Any], folder: Path, kills: int, clusters_s: list[float], engines_s: list[float]
) -> None:
    launch = fleet_launch("fleet", spec, free_port(), folder)
    server = JsonServer(f"http://{launch.endpoint.host}:{launch.endpoint.port}")
    model = spec["models"][0]["name"]
    began_s = time.monotonic()
    with running([launch], folder, START_TIMEOUT_S):
        _ask(server, model)
        clusters_s.append(time.monotonic() - began_s)
        for _ in range(kills):
            (engine,) = server.get("/fleet")["models"][0]["engines"]
            os.kill(engine["pid"], signal.SIGKILL)
            killed_s = time.monotonic()
            _ask(server, model)
            engines_s.append(time.monotonic() - killed_s)
        log = Path((folder / "fleet.log").read_text().partition("log: ")[2].splitlines()[0])
        for said in SAID.findall(log.read_text()):
            print(said, file=sys.stderr)


def _ask(server: JsonServer, model: str) -> None:
    """For one token. Raises AnswerError."""
    server.post("/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 1})


def _patient(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec`, whose requests wait for an engine, and whose engines may die young."""
    failover = {**spec["failover"], "hold_timeout_s": START_TIMEOUT_S, "restart_backoff_max_s": 0}
    return {**spec, "failover": failover}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.starts", description=__doc__)
    parser.add_argument("--spec", default="spec-local-one.yaml")
    parser.add_argument("--runs", type=count, default=3, help="clusters; default 3")
    parser.add_argument("--kills", type=int, default=2, help="in each cluster; default 2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
