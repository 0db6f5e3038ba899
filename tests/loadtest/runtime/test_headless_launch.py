"""Locust started for someone: its command line, its folder, its exit status, signals."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.run_records import CONFIG, REPORT, REQUESTS, read_records
from loadtest.runtime.launch import HeadlessRun, RunError, add_run_arguments, run, run_trial
from tests.loadtest.runtime.planned import LOCUSTFILE, planned, session
from tests.loadtest.timed_server import timed_server


@pytest.fixture(autouse=True)
def repository_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())


def test_a_key_is_not_on_the_command_line() -> None:
    headless = HeadlessRun(scenario="chat", host="http://h", api_key="secret", settings=("seed=7",))
    assert "secret" not in " ".join(headless.command)
    assert headless.environment["OPENAI_API_KEY"] == "secret"
    assert headless.command[-1] == "--set=seed=7"


def test_a_trial_returns_its_folder(tmp_path: Path) -> None:
    plan, out, log = planned(tmp_path, [session(0)]), tmp_path / "a", tmp_path / "log"
    with timed_server() as url:
        trial = HeadlessRun(scenario=str(plan), host=url, api_key="key", locustfile=LOCUSTFILE)
        assert run_trial(trial, out, log=log) == out
    records = list(read_records((out / REQUESTS).read_text().splitlines()))
    assert [r.session for r in records if not r.warm_up] == [0]
    assert (out / CONFIG).exists()
    assert "sessions to fake" in log.read_text()
    with pytest.raises(RunError, match="a is not empty"):
        run_trial(trial, out)


def test_a_trial_that_cannot_begin_says_so(tmp_path: Path) -> None:
    trial = HeadlessRun(scenario="", host="http://127.0.0.1:1", locustfile=LOCUSTFILE)
    with pytest.raises(RunError, match="Locust ended with 3"):
        run_trial(trial, tmp_path / "a", log=tmp_path / "log")


def test_the_command_needs_a_scenario_and_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    args = parser.parse_args(["chat", "--host", "http://h", "--set", "a=1", "--set", "b=2"])
    assert (args.scenario, args.variant, args.set) == ("chat", "cpu", ["a=1", "b=2"])
    with pytest.raises(SystemExit):
        parser.parse_args(["chat"])
    assert "--host" in capsys.readouterr().err


def test_the_command_sends_a_scenario_by_its_name(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    with timed_server() as url:
        quick = ["--set", "duration_s=1", "--set", "arrivals.rate_per_s=5"]
        argv = ["translate", "--host", url, "--out", str(tmp_path / "run"), *quick]
        assert run(parser.parse_args(argv)) == 0
    records = list(read_records((tmp_path / "run" / REQUESTS).read_text().splitlines()))
    assert {record.right for record in records if not record.warm_up} == {False}


def test_a_scenario_with_stages_is_held_and_drawn(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    stages = "stages=[{users: 1, duration_s: 1}, {users: 2, duration_s: 1}]"
    closed = ["mode=closed", "arrivals=null", "sessions=400", "duration_s=2", stages]
    argv = ["translate", "--out", str(tmp_path / "run")]
    argv += [word for setting in closed for word in ("--set", setting)]
    with timed_server() as url:
        assert run(parser.parse_args([*argv, "--host", url])) == 0
    assert "users of the stage" in (tmp_path / "run" / REPORT).read_text()


STARTED = """
import sys
from pathlib import Path
from loadtest.runtime.launch import HeadlessRun, run_trial
scenario, host, out, locustfile = sys.argv[1:]
trial = HeadlessRun(scenario=scenario, host=host, locustfile=Path(locustfile))
print(run_trial(trial, Path(out)))
"""


def test_sigterm_ends_locust_and_then_the_command(tmp_path: Path) -> None:
    plan = planned(tmp_path, [session(0, gap_s=1, chunks=60)], duration_s=60.0, timeout_s=60.0)
    out = tmp_path / "run"
    with timed_server() as url:
        argv = [sys.executable, "-c", STARTED, str(plan), url, str(out), str(LOCUSTFILE)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "offered" in line:
                    process.send_signal(signal.SIGTERM)
                    break
            said = process.stdout.read()
    assert "stopped before its end" in said
    records = list(read_records((out / REQUESTS).read_text().splitlines()))
    assert records[-1].sample.error == "stopped before it ended"
