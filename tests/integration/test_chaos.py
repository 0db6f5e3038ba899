"""`tokenfleet chaos` on a cluster that runs, for a minute: kills under load, and nobody notices."""

import json
from pathlib import Path

import pytest

from serve_app import cli
from tests.integration.fleet import Fleet

KILLS = {"kill-host", "kill-core", "kill-worker"}
FAULTS = "pause-core,kill-host,kill-core,kill-worker"
SEED = "8"
"""The pause, which takes no engine away, comes first: a kill then waits for the next engine."""
KINDS = "chat,completion,seeded,several choices,not streamed,JSON schema"


def test_a_minute_of_kills_under_load_passes(
    two_engines: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "chaos.jsonl"
    where = ("--url", two_engines.url, "--model", "demo", "--out", str(out))
    load = ("--kinds", KINDS, "--tokens", "300-600", "--streams", "6")
    faults = ("--faults", FAULTS, "--kill-every", "1", "--duration", "50", "--seed", SEED)
    status = cli.main(["chaos", *where, *load, *faults])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert printed.endswith("\npassed\n")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    done = [row["fault"] for row in rows if row["row"] == "fault" and not row["missed"]]
    assert done[0] == "pause-core"
    assert KILLS & set(done)
    first = done[: len(FAULTS.split(","))]
    assert len(set(first)) == len(first), "each kind gets its turn"
    (end,) = [row for row in rows if row["row"] == "end"]
    assert end["moved"] > 0
    print(printed)
