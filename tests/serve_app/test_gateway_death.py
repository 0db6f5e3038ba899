"""What becomes of a gateway's requests at the engines when its process is gone, or stands still."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.serve_app.fake_core import HostThread
from tests.waiting import until

ABORTED_WITHIN_S = 2.0


@pytest.fixture
def host() -> Iterator[HostThread]:
    host = HostThread("a", steps_allowed=5)
    yield host
    host.close()


@pytest.fixture
def gateway(host: HostThread) -> Iterator[subprocess.Popen[bytes]]:
    address = host.address
    lonely = [sys.executable, "-m", "tests.serve_app.lonely_switch"]
    process = subprocess.Popen([*lonely, address.endpoint, address.public_key])
    yield process
    process.kill()
    process.wait()


def runs(host: HostThread) -> bool:
    return host.call(lambda: bool(host.core.running))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_its_requests_are_aborted_at_the_engine(host, gateway, number):
    until(lambda: runs(host), what="the request reaches the engine")
    gateway.send_signal(number)
    sent_at_s = time.monotonic()
    until(lambda: not runs(host), what="the orphan is aborted")
    assert time.monotonic() - sent_at_s < ABORTED_WITHIN_S
    assert host.call(lambda: len(host.core.aborted)) == 1
