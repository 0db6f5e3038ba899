"""A busy process is held where it runs, and let go where it has to wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from serve_app.sticky_cpu import StickyCpu
from tests.waiting import until

CPUS = os.sched_getaffinity(0)

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="with one CPU there is nothing to choose")


@pytest.fixture
def busy() -> Iterator[list[int]]:
    """Two processes that never sleep."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield [process.pid for process in processes]
    for process in processes:
        process.kill()
        process.wait()


def test_it_stays_where_it_runs(busy: list[int]) -> None:
    sticky = StickyCpu(busy[0])

    def held() -> bool:
        sticky.look()
        return len(os.sched_getaffinity(busy[0])) == 1

    until(held)
    assert os.sched_getaffinity(busy[0]) <= CPUS


def test_two_on_one_cpu_let_each_other_go(busy: list[int]) -> None:
    sticky = [StickyCpu(pid) for pid in busy]
    for pid in busy:
        os.sched_setaffinity(pid, {min(CPUS)})
    waited_ns = [each._read_waited_ns() for each in sticky]

    def have_waited() -> bool:
        return all(
            each._read_waited_ns() > before + 100e6
            for each, before in zip(sticky, waited_ns, strict=True)
        )

    until(have_waited)
    for each in sticky:
        each.look()
    assert [os.sched_getaffinity(pid) for pid in busy] == [CPUS, CPUS]


def test_what_has_ended_is_no_longer_held(busy: list[int]) -> None:
    sticky = StickyCpu(busy[0])
    os.kill(busy[0], 9)
    os.waitpid(busy[0], 0)
    with pytest.raises(OSError, match="No such"):
        sticky.look()
