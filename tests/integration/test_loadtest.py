"""Load tests of the real cluster, as their user starts them: a run, its verdict, its gate."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.fleet import Fleet

ENDED_WITHIN_S = 120.0
COMMAND = "import sys; from serve_app.cli import main; sys.exit(main())"


def loadtest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`tokenfleet loadtest …`."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "loadtest", *arguments],
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_S,
    )


def sent(fleet: Fleet, scenario: str, out: Path, *options: str) -> dict[str, Any]:
    """The summary of a run of a scenario."""
    ran = loadtest("run", scenario, f"--host={fleet.url}", f"--out={out}", *options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout.endswith(f"{out}/report.html\n")
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_a_run_passes_its_gate(two_engines: Fleet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = sent(two_engines, "smoke", run)
    assert summary["load"]["offered"] == summary["load"]["succeeded"] == 20
    assert summary["verdict"] == "pass"
    gate = loadtest("gate", str(run), f"--junit={tmp_path / 'gate.xml'}")
    assert (gate.returncode, "smoke: pass" in gate.stdout) == (0, True)
    assert 'failures="0"' in (tmp_path / "gate.xml").read_text()
    strict = loadtest("gate", str(run), "--slo=ttft_p50=5s,goodput_per_s_min=1000")
    assert (strict.returncode, "smoke: breach" in strict.stdout) == (1, True)
    metrics = (run / "server.jsonl").read_text()
    assert "vllm:num_requests_running" in metrics


def test_answers_are_checked_under_load(two_engines: Fleet, tmp_path: Path) -> None:
    summary = sent(two_engines, "qa", tmp_path, "--set=duration_s=6", "--set=warm_up_s=0")
    right = summary["right"]
    assert right["n"] == summary["load"]["succeeded"] > 10
    assert right["frac"] > 0.9
