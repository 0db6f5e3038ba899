"""Loads with faults: done to real processes beside the load, each with its mark; or refused."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtest.run_records import MARKS, REPORT, SUMMARY
from loadtest.runtime.launch import add_run_arguments, run
from serve_app.process_tree import is_alive
from tests.loadtest.fake_fleet import fake_fleet
from tests.loadtest.runtime.planned import Outcome, sent, session
from tests.loadtest.timed_server import timed_server

SESSIONS = [session(n, at_s=0.1 * n) for n in range(30)]


def disturbed(url: str, folder: Path, *kinds: str, duration_s: float) -> Outcome:
    faults = {"faults": kinds or None, "every_s": 0.5}
    return sent(url, folder, SESSIONS, duration_s=duration_s, faults=faults)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / MARKS).read_text().splitlines()]


def test_each_fault_that_was_done_has_its_mark(tmp_path: Path) -> None:
    with fake_fleet(engines=3) as (url, processes):
        outcome = disturbed(url, tmp_path, "kill-core", "kill-worker", duration_s=3.5)
        dead = {process.pid for process in processes if not is_alive(process)}
    assert outcome.status == 0, outcome.output
    marks = lines(outcome.folder)
    assert {mark["kind"] for mark in marks} == {"kill-core", "kill-worker"}
    assert {int(mark["what"].split()[1]) for mark in marks} == dead
    assert all(0.5 <= mark["at_s"] < 3.5 for mark in marks)
    assert len({mark["what"].split()[-1] for mark in marks}) == 2, "one engine is left alone"
    summary = json.loads((outcome.folder / SUMMARY).read_text())
    assert summary["faults"] == {"kill-core": 1, "kill-worker": 1}
    assert "2 faults: 1 kill-" in (outcome.folder / REPORT).read_text()
    assert "2 faults: 1 kill-" in outcome.output


def test_a_pause_ends_with_the_load_and_its_mark_says_when(tmp_path: Path) -> None:
    with fake_fleet(engines=2) as (url, processes):
        outcome = disturbed(url, tmp_path, "pause-host", duration_s=3.0)
        states = {process.status() for process in processes}
    (mark,) = lines(outcome.folder)
    assert (mark["kind"], psutil.STATUS_STOPPED in states) == ("pause-host", False)
    assert 0.5 <= mark["at_s"] < mark["end_s"] < mark["at_s"] + 4.0
    assert outcome.environment["problems"] == []


def test_a_server_that_is_no_fleet_is_refused_before_the_load(tmp_path: Path) -> None:
    with timed_server() as url:
        outcome = disturbed(url, tmp_path, duration_s=1.0)
    assert outcome.status == 3
    assert f"{url} has no GET /fleet: it is no Tokenfleet, or wants an admin" in outcome.output
    assert "--set faults=null" in outcome.output
    assert not outcome.folder.exists()


@pytest.mark.parametrize(
    ("engines", "pid", "why"),
    [(2, 1, "are no processes of this machine"), (1, None, "kill-host needs 2 engines")],
)
def test_a_fleet_that_cannot_be_disturbed_is_refused(
    tmp_path: Path, engines: int, pid: int | None, why: str
) -> None:
    with fake_fleet(engines, pid) as (url, processes):
        outcome = disturbed(url, tmp_path, "kill-host", duration_s=1.0)
        assert all(map(is_alive, processes))
    assert outcome.status == 3
    assert why in outcome.output


def test_the_chaos_scenario_does_its_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    settings = [
        *("tenants=[]", "workload={kind: tasks, file: translate}", "arrivals.rate_per_s=5"),
        *("duration_s=2.5", "faults.every_s=0.5", "faults.kinds=[kill-core, stall-core]"),
    ]
    with fake_fleet(engines=2) as (url, processes):
        argv = ["chaos", "--host", url, "--out", str(tmp_path / "run")]
        argv += [word for setting in settings for word in ("--set", setting)]
        assert run(parser.parse_args(argv)) == 0
        hit = [p for p in processes if not is_alive(p) or p.status() == psutil.STATUS_STOPPED]
    (mark,) = lines(tmp_path / "run")
    assert mark["kind"] in ("kill-core", "stall-core")
    assert [int(mark["what"].split()[1])] == [process.pid for process in hit]
    assert "end_s" not in mark
