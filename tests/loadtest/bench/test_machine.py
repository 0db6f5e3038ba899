"""What the benchmark asks of the machine it runs on."""

import os
import subprocess
from pathlib import Path

import pytest

from loadtest.bench import machine

AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not share CPUs by session")
def test_a_servers_session_comes_after_the_clients() -> None:
    before = AUTOGROUP.read_text()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as server:
        machine.put_behind(server.pid)
        assert Path(f"/proc/{server.pid}/autogroup").read_text().endswith(" nice 10\n")
        server.communicate()
    assert AUTOGROUP.read_text() == before


def test_a_server_that_is_gone_is_no_error() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    machine.put_behind(gone.pid)


def test_waiting_only_grows() -> None:
    before = machine.waited_s()
    os.sched_yield()
    assert machine.waited_s() >= before >= 0
