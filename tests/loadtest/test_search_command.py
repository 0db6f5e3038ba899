"""The search's command: trials against a server that answers fast, made-up ones, and refusals."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest import search_command
from loadtest.exit_status import INVALID, PASS, USAGE
from loadtest.runtime.launch import HeadlessRun
from loadtest.scenario_layers import settings
from loadtest.validity import Reason
from tests.loadtest.commands import status_of
from tests.loadtest.made_up_run import made_up_run
from tests.loadtest.timed_server import timed_server

SCENARIO = """
description: a few chats
mode: open
workload: {kind: tasks, file: qa}
arrivals: {kind: constant, rate_per_s: 20}
duration_s: 1.5
timeout_s: 10
slo: {e2e_p50_ms: 0.001, ttft_p50_ms: 60000}  # no request can be good, and the client never late
"""
COMMAND = "import sys; from loadtest.load_command import main; sys.exit(main(sys.argv[1:]))"


def search(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as ever: each trial is Locust's."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "search", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "few.yaml"
    path.write_text(SCENARIO)
    return str(path)


def test_rates_are_tried_until_the_trials_are_used_up(scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "search"
    with timed_server() as url:
        done = search(scenario, f"--host={url}", "--max-trials=1", f"--out={out}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "20 requests/s: 0 of 30 good" in done.stdout
    assert "no rate passes (max_trials)" in done.stdout
    found = json.loads((out / "search.json").read_text())["found"]
    assert [tried["rate_per_s"] for tried in found["tried"]] == [20.0]
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["trial-01"]


Trial = Callable[[float, int], dict[str, Any]]
"""The options of `MadeUp` for a rate and the number of the trial."""


def searched(
    monkeypatch: pytest.MonkeyPatch, scenario: str, out: Path, trial: Trial, *options: str
) -> int:
    """The exit status of a search whose trials are made up."""
    seeds: list[int] = []

    def run_trial(wanted: HeadlessRun, folder: Path, *, log: Path) -> Path:
        asked = settings(wanted.settings)
        seeds.append(asked["seed"])
        options = trial(asked["arrivals"]["rate_per_s"], len(seeds))
        return made_up_run(folder, requests=100, failed_frac=0, engines=0, **options)

    monkeypatch.setattr(search_command, "run_trial", run_trial)
    given = ("--host=http://x", f"--out={out}", "--slo=ttft_p99=2s", *options)
    status = status_of(search_command, scenario, *given)
    assert len(set(seeds)) == len(seeds), "each trial asks other prompts"
    return status


def test_one_late_trial_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trial(rate_per_s: float, number: int) -> dict[str, Any]:
        return {"lag_s": 0.2 if number == 2 else 0.0001, "ttft_s": 0.1 if rate_per_s < 50 else 9}

    assert searched(monkeypatch, scenario, tmp_path / "out", trial) == PASS
    said = capsys.readouterr().out
    assert "      40 requests/s: client-limited: schedule lag p99 " in said
    assert "      40 requests/s: 100 of 100 good\n" in said
    assert "highest rate that meets the SLO: 4" in said
    assert json.loads((tmp_path / "out" / "search.json").read_text())["limited_by"] == "server"


def test_a_limit_of_the_client_is_no_limit_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trial(rate_per_s: float, _: int) -> dict[str, Any]:
        return {"lag_s": 0.0001 if rate_per_s < 50 else 0.2}

    precision = "--precision=0.5"
    assert searched(monkeypatch, scenario, tmp_path / "out", trial, precision) == INVALID
    said = capsys.readouterr().out
    assert re.search(r"\n80 +2 +- +- +- +client-limited\n", said)
    assert "the SLO is met at 40 requests/s at least: the client could not offer 56.6 " in said
    assert json.loads((tmp_path / "out" / "search.json").read_text())["limited_by"] == "client"


def test_a_trial_that_is_invalid_in_another_way_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = (monkeypatch, scenario, tmp_path / "out", lambda *_: {})
    monkeypatch.setattr(
        search_command, "why_invalid", lambda *_: [Reason("load generator", "worker 1 was lost")]
    )
    assert searched(*given) == INVALID
    assert "trial-01, at 20 requests/s: worker 1 was lost" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--set=mode=closed", "--set=arrivals=null", "--set=users=1", "--set=sessions=1"), "open"),
        (("--slo=ttft_p99=fast",), "ttft_p99"),
        (("--target=2",), "target must be in"),
        (("--set=seed=x",), "seed"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    scenario: str, options: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = status_of(search_command, scenario, "--host=http://127.0.0.1:1", *options)
    said = capsys.readouterr().err
    assert (status, why in said) == (USAGE, True), said
