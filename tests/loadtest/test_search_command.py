"""The search's command: trials against a server that answers fast, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loadtest.timed_server import timed_server

SCENARIO = """
description: a few chats
mode: open
workload: {kind: tasks, file: qa}
arrivals: {kind: constant, rate_per_s: 20}
duration_s: 1.5
timeout_s: 10
slo: {e2e_p50_ms: 0.001}  # no request can be good
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
        done = search(scenario, f"--host={url}", "--max-trials=2", f"--out={out}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "20 requests/s: 0 of 30 good" in done.stdout
    assert "no rate passes (max_trials)" in done.stdout
    found = json.loads((out / "search.json").read_text())["found"]
    assert [tried["rate_per_s"] for tried in found["tried"]] == [10.0, 20.0]
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["trial-01", "trial-02"]


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
    scenario: str, options: tuple[str, ...], why: str
) -> None:
    refused = search(scenario, "--host=http://127.0.0.1:1", *options)
    assert (refused.returncode, why in refused.stderr) == (3, True), refused.stderr
