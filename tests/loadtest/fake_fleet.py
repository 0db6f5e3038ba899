"""A Tokenfleet to be disturbed: `timed_server` with a `GET /fleet`, and processes that look like
engines. `python -m tests.loadtest.fake_fleet ENGINES [PID]`; with PID, it is said to be the process
of every engine.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import setproctitle

from tests.loadtest.fake_server import plain
from tests.loadtest.timed_server import BACKLOG, TimedServer

HOST = """
import setproctitle, subprocess, sys
setproctitle.setproctitle("ray::ServeReplica:default:Engine")
child = "import setproctitle, sys; setproctitle.setproctitle(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
for title in ("VLLM::EngineCore", "VLLM::Worker_TP0"):
    process = subprocess.Popen([sys.executable, "-c", child, title], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
"""  # noqa: E501  # a program; each process ends with the one above it


class Fleet(TimedServer):
    def __init__(self, hosts: list[subprocess.Popen[bytes]], pid: int | None) -> None:
        super().__init__()
        self._hosts, self._pid = hosts, pid

    def _got(self, path: str) -> bytes:
        if path != "/fleet":
            return super()._got(path)
        engines = [self._row(n, host) for n, host in enumerate(self._hosts) if host.poll() is None]
        flights = {"active": 0, "moved": 0, "failed": 0}
        models = [{"name": "fake", "engines": engines, "flights": flights}]
        return plain("200 OK", json.dumps({"models": models}).encode())

    def _row(self, number: int, host: subprocess.Popen[bytes]) -> dict[str, Any]:
        pid = self._pid or host.pid
        return {"id": f"e{number}", "state": "ready", "pid": pid, "running": 0, "waiting": 0}


def _host() -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOST], **pipes)
    assert process.stdout is not None
    process.stdout.readline()
    return process


async def _serve(engines: int, pid: int | None) -> None:
    setproctitle.setproctitle("ray::ServeReplica:default:Gateway")
    fleet = Fleet([_host() for _ in range(engines)], pid)
    server = await asyncio.start_server(fleet.handle, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def fake_fleet(engines: int, pid: int | None = None) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Its URL, and all processes of its engines."""
    argv = [sys.executable, "-m", __name__, str(engines), *([str(pid)] if pid else [])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        of_engines = psutil.Process(process.pid).children(recursive=True)
        try:
            yield f"http://127.0.0.1:{port}", of_engines
        finally:
            process.terminate()
            for each in of_engines:
                if each.is_running():
                    each.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
