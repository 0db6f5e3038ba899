"""Work on the host's own thread, while the process runs and when it ends."""

import asyncio
import subprocess
import sys
import threading

import pytest

from serve_app.host_thread import HostThread

ENDING = """
import asyncio, atexit, sys
from serve_app.host_thread import HostThread

async def farewell():
    await asyncio.sleep(0)
    print("moved", flush=True)

thread = HostThread("host")
atexit.register(lambda: thread.finish(farewell()))
sys.exit(3)  # what Ray makes of SIGTERM
"""


async def where(error: Exception | None = None) -> str:
    if error is not None:
        raise error
    return threading.current_thread().name


def test_work_runs_there_and_its_result_comes_back() -> None:
    thread = HostThread("host")
    assert asyncio.run(thread.run(where())) == "host"
    assert thread.finish(where()) == "host"
    with pytest.raises(OSError, match="no port"):
        asyncio.run(thread.run(where(OSError("no port"))))


def test_it_still_works_when_the_interpreter_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stdout) == (3, "moved\n"), ended.stderr
