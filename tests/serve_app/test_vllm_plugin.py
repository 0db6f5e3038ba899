"""vLLM's processes die with the host that started them, and tell it why they could not start."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from serve_app import vllm_plugin
from serve_app.settings import ENGINE_ERRORS_ENV
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Host:
    """A host process with one child; both end with the test."""

    def __init__(self, folder: Path, what: str = "wait", *, registered: bool = True) -> None:
        self.errors = folder / "errors"
        self._pid_file = folder / "pid"
        environment = {**os.environ, ENGINE_ERRORS_ENV: str(self.errors)}
        if not registered:
            del environment[ENGINE_ERRORS_ENV]
        command = [sys.executable, "-m", "tests.serve_app.plugin_host", what, str(folder)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        until(
            lambda: self._pid_file.exists() or self.process.poll() is not None, within_s=DEADLINE_S
        )

    @property
    def child(self) -> int:
        return int(self._pid_file.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)


@pytest.fixture
def start(tmp_path) -> Iterator:
    hosts = []

    def start_host(*args, **kwargs) -> Host:
        hosts.append(Host(tmp_path, *args, **kwargs))
        return hosts[-1]

    yield start_host
    for host in hosts:
        host.close()


def test_a_child_dies_when_its_host_is_killed(start):
    host = start()
    assert is_alive(host.child)
    host.kill()
    until(lambda: not is_alive(host.child), within_s=DEADLINE_S)


def test_a_child_that_no_host_of_ours_started_is_left_alone(start):
    host = start(registered=False)
    host.kill()
    with pytest.raises(psutil.TimeoutExpired):  # the kernel would have sent the signal by now
        psutil.Process(host.child).wait(0.3)
    assert is_alive(host.child)
    assert not host.errors.exists()


def test_to_the_kernel_the_thread_that_started_a_child_is_its_parent(start):
    """Why the engine keeps a thread for nothing else: an executor's idle thread may end."""
    host = start("end-starter")
    until(lambda: not is_alive(host.child), within_s=DEADLINE_S)
    assert host.process.poll() is None


def test_a_host_finds_its_child_s_start_failure_as_one_line(start):
    host = start()
    assert host.errors.read_text() == "MemoryError: no room for the cache\n"


def test_the_host_itself_registers_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv(ENGINE_ERRORS_ENV, str(tmp_path / "errors"))
    before = list(logging.getLogger("vllm").handlers)
    vllm_plugin.register()  # this process was started by no multiprocessing parent
    assert logging.getLogger("vllm").handlers == before


@pytest.mark.parametrize(
    ("logged", "lines"),
    [
        pytest.param({"msg": "out of\nmemory"}, ["out of memory"], id="a message"),
        pytest.param(
            {"msg": "x", "exc_info": (ValueError, ValueError("bad"), None)},
            ["ValueError: bad"],
            id="an exception rather than its message",
        ),
        pytest.param({"msg": "only", "level": logging.WARNING}, [], id="warnings are no failures"),
    ],
)
def test_what_is_written_of_an_error(tmp_path, logged, lines):
    logger = logging.getLogger("tokenfleet-test-errors")
    handler = vllm_plugin._ErrorFile(tmp_path / "errors")
    logger.addHandler(handler)
    logger.log(logged.pop("level", logging.ERROR), logged.pop("msg"), **logged)
    logger.removeHandler(handler)
    written = tmp_path / "errors"
    assert (written.read_text().splitlines() if written.exists() else []) == lines


def test_an_error_file_that_is_gone_disturbs_nobody(tmp_path):
    logger = logging.getLogger("tokenfleet-test-errors")
    handler = vllm_plugin._ErrorFile(tmp_path / "removed" / "errors")
    logger.addHandler(handler)
    logger.error("long after the start")
    logger.removeHandler(handler)


def test_vllm_finds_the_plugin():
    (entry,) = metadata.entry_points(group="vllm.general_plugins", name="tokenfleet")
    assert entry.load() is vllm_plugin.register
