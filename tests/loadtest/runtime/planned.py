"""Locust in a process of its own, sending sessions that a test planned, and what came of it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.run_records import CONFIG, ENVIRONMENT, REQUESTS, RequestRecord, read_records
from loadtest.sessions import Session, Turn

LOCUSTFILE = Path(__file__).with_name("planned_locustfile.py")
SHAPED = Path(__file__).with_name("shaped_locustfile.py")
TIMEOUT_S = 60


def session(
    index: int,
    at_s: float | None = 0.0,
    turns: int = 1,
    think_s: float = 0.0,
    chat: bool = True,
    **fake: Any,
) -> Session:
    """One whose requests are answered in the manner `fake`."""
    asked = tuple(
        Turn(user=f"session {index} turn {n}", max_tokens=8, think_s=think_s) for n in range(turns)
    )
    return Session(index=index, at_s=at_s, turns=asked, chat=chat, extra={"fake": fake})


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str
    folder: Path

    @property
    def records(self) -> list[RequestRecord]:
        """In the order of their sessions and turns, without the warm-up before the start."""
        records = [r for r in self.all_records if r.session >= 0]
        return sorted(records, key=lambda record: (record.session, record.turn))

    @property
    def all_records(self) -> list[RequestRecord]:
        return list(read_records((self.folder / REQUESTS).read_text().splitlines()))

    @property
    def environment(self) -> Any:
        return json.loads((self.folder / ENVIRONMENT).read_text())

    @property
    def config(self) -> Any:
        return json.loads((self.folder / CONFIG).read_text())


def planned(folder: Path, sessions: Sequence[Session], **settings: Any) -> Path:
    """A file for the locustfile; `settings` are those of a Load."""
    load = {"mode": "open", "duration_s": 0.5, "timeout_s": 5.0} | settings
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"load": load, "sessions": [asdict(s) for s in sessions]}))
    return plan


def command(
    url: str,
    folder: Path,
    sessions: Sequence[Session],
    *options: str,
    locustfile: Path = LOCUSTFILE,
    **settings: Any,
) -> list[str]:
    plan = planned(folder, sessions, **settings)
    given = ["--host", url, "--scenario", str(plan), "--out", str(folder / "run"), *options]
    return [sys.executable, "-m", "locust", "-f", str(locustfile), *given]


@contextmanager
def locust(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Locust with its output to be read; it has ended when the context has."""
    with _interruptible():
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"},
        )
    try:
        with process:
            yield process
    finally:
        process.kill()


@contextmanager
def _interruptible() -> Iterator[None]:
    """A process that is started in it does not ignore SIGINT, though this one may: what starts jobs
    in the background, as pytest-xdist its workers, has them ignore it, and so do their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def sent(
    url: str,
    folder: Path,
    sessions: Sequence[Session],
    *options: str,
    stop: signal.Signals | None = None,
    stop_at: str = "",
    **settings: Any,
) -> Outcome:
    """The run, to its end; `stop` is sent when a line with `stop_at` is read."""
    said = ""
    with locust(command(url, folder, sessions, "--headless", *options, **settings)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if stop is not None and stop_at in line:
                process.send_signal(stop)
                stop = None
        status = process.wait(TIMEOUT_S)
    return Outcome(status, said, folder / "run")


def read_plan(path: str) -> tuple[dict[str, Any], list[Session]]:
    plan = json.loads(Path(path).read_text())
    sessions = [
        Session(**{**fields, "turns": tuple(Turn(**turn) for turn in fields["turns"])})
        for fields in plan["sessions"]
    ]
    return plan["load"], sessions


def server_log(url: str) -> list[dict[str, Any]]:
    """What a `timed_server` received, the warm-up left out."""
    with urllib.request.urlopen(f"{url}/log") as response:
        return [entry for entry in json.load(response) if "fake" in entry["body"]]


def session_of(entry: dict[str, Any]) -> str:
    """The question of a `server_log` entry: `session N turn M`."""
    return str(entry["body"]["messages"][-1]["content"])
