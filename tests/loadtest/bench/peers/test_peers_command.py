"""The whole peers benchmark against fake servers, in a few seconds, and its wrong uses."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench.peers import sides
from loadtest.bench.peers.__main__ import main
from loadtest.bench.records import (
    CellRow,
    DuringRow,
    KillRow,
    RequestRow,
    StartRow,
    open_text,
    read_rows,
)
from loadtest.bench.servers import REPOSITORY
from tests.loadtest.bench.peers.on_fake_servers import MODULE

OPTIONS = "--sides bare --rounds 2 --streams 1,4 --requests-per-stream 2 --output-tokens 8"
KILL = "--kill-streams 2 --kill-run-s 1.5"


def test_rounds_and_a_run_with_a_kill(tmp_path: Path) -> None:
    out = str(tmp_path / "rows.jsonl")
    command = [sys.executable, "-m", MODULE, *OPTIONS.split(), *KILL.split(), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    with open_text(out, "rt") as file:
        rows = list(read_rows(file))
    assert [(r.pair, r.streams) for r in rows if isinstance(r, CellRow)] == [
        *((0, 1), (0, 4), (1, 1), (1, 4))
    ]
    assert [r.pair for r in rows if isinstance(r, StartRow)] == [0, 1, None]
    samples = [r.sample for r in rows if isinstance(r, RequestRow)]
    assert {(s.error, s.output_tokens, s.prompt_tokens) for s in samples} == {(None, 8, 200)}
    [kill] = [r for r in rows if isinstance(r, KillRow)]
    during = [r for r in rows if isinstance(r, DuringRow)]
    before = [r.sample.error for r in during if r.ended_s < kill.killed_at_s]
    after = [r.sample.error for r in during if r.sample.t0_s > kill.killed_at_s]
    assert before
    assert set(before) == {None}
    assert after
    assert None not in after  # the one engine is gone
    assert "| bare vLLM | 1 |" in done.stdout
    assert "| never |" in done.stdout


def test_an_unknown_side_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--sides", "fleet,nginx"])
    assert "['nginx'] not among ['fleet', 'bare'" in capsys.readouterr().err


def test_a_wrong_spec_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--sides", "fleet", "--spec", "no-such-spec.yaml"]) == 2
    assert "no-such-spec.yaml" in capfd.readouterr().err


def test_without_the_peers_environment_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sides, "PEERS_PYTHON", Path("/nowhere/python"))
    assert main(["--sides", "bare,ray-tuned"]) == 2
    assert "/nowhere/python is missing: make bench-peers sets it up" in capsys.readouterr().err
