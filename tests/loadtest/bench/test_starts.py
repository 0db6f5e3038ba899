"""`python -m loadtest.bench.starts`: what it kills and when, and what it prints. Nothing starts."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench import starts
from loadtest.bench.servers import ServerError

SPEC = {
    "models": [{"name": "demo", "source": "demo"}],
    "gateway": {},
    "ports": {},
    "failover": {"hold_timeout_s": 30},
}


class Fleet:
    """One that is there at once; an answer takes two seconds, ten where its engine was killed."""

    def __init__(self) -> None:
        self.now_s, self.engine, self.alive = 0.0, 100, True
        self.specs: list[str] = []

    @contextlib.contextmanager
    def running(self, launches: Any, folder: Path, timeout_s: float) -> Iterator[None]:
        self.specs.append((folder / "overhead-spec.yaml").read_text())
        log = folder / "serve.log"
        log.write_text("x\nINFO -- engine of demo started in 14.0 s: imports 10.0, rest 4.0\n")
        (folder / "fleet.log").write_text(f"starting; log: {log}\n   0 s  waiting\n")
        self.now_s += 40.0
        yield

    def get(self, path: str) -> Any:
        return {"models": [{"engines": [{"pid": self.engine}]}]}

    def post(self, path: str, body: Any) -> Any:
        self.now_s += 2.0 if self.alive else 10.0
        self.engine, self.alive = self.engine + (not self.alive), True
        return {}

    def kill(self, pid: int, number: int) -> None:
        assert (pid, number, self.alive) == (self.engine, signal.SIGKILL, True)
        self.alive = False


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    fake = Fleet()
    monkeypatch.setattr(starts, "running", fake.running)
    monkeypatch.setattr(starts, "resolved_spec", lambda path: SPEC)
    monkeypatch.setattr(starts, "JsonServer", lambda url: fake)
    monkeypatch.setattr(starts.os, "kill", fake.kill)
    monkeypatch.setattr(starts.time, "monotonic", lambda: fake.now_s)
    return fake


def test_clusters_and_engines_are_timed_each_for_itself(fleet: Fleet, capsys: Any) -> None:
    assert starts.main(["--runs", "2", "--kills", "3"]) == 0
    printed = capsys.readouterr()
    rows = [line.split(" | ") for line in printed.out.splitlines()[2:]]
    assert rows == [
        ["| cluster", "42.0", "42.0 to 42.0", "2 |"],
        ["| engine", "10.0", "10.0 to 10.0", "6 |"],
    ]
    assert printed.err == 2 * "14.0 s: imports 10.0, rest 4.0\n"
    assert all("restart_backoff_max_s: 0" in spec for spec in fleet.specs)


def test_without_kills_there_are_clusters_only(fleet: Fleet, capsys: Any) -> None:
    assert starts.main(["--runs", "1", "--kills", "0"]) == 0
    assert "engine" not in capsys.readouterr().out


def test_a_cluster_that_does_not_start_ends_it(fleet: Fleet, capsys: Any, monkeypatch: Any) -> None:
    @contextlib.contextmanager
    def fails(*given: Any) -> Iterator[None]:
        raise ServerError("fleet ended with 1")
        yield

    monkeypatch.setattr(starts, "running", fails)
    assert starts.main([]) == 1
    assert "fleet ended with 1" in capsys.readouterr().err
