"""The process that does faults beside a load: what it says, and when it ends."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import pytest

from loadtest.chaos import beside
from loadtest.chaos.beside import Beside, RefusedError
from loadtest.chaos.order import Order, order_of
from loadtest.chaos.plan import ON_ENGINES, Fault
from tests.loadtest.fake_fleet import fake_fleet
from tests.waiting import until

ORDER = Order(
    url="http://127.0.0.1:1", model="fake", faults=None, every_s=0.1, duration_s=600.0, seed=0
)


class Asked:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def rest(self) -> list[dict[str, Any]]:
        """What it says once its input has ended, to its end."""
        said, _ = self.process.communicate()
        return [json.loads(line) for line in said.splitlines()]


@contextmanager
def asked(order: Order) -> Iterator[Asked]:
    argv = [sys.executable, "-m", "loadtest.chaos.beside"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        found = Asked(process)
        found.tell(order.to_json())
        yield found


def test_an_order_travels() -> None:
    for order in (ORDER, replace(ORDER, faults=(Fault.KILL_HOST, Fault.PAUSE_CORE), api_key="k")):
        assert order_of(order.to_json()) == order


def test_the_end_of_its_input_ends_a_pause_and_then_itself() -> None:
    with fake_fleet(engines=2) as (url, processes):
        with asked(replace(ORDER, url=url, faults=(Fault.PAUSE_HOST,))) as it:
            assert it.answer() == {"faults": ["pause-host"]}
            it.tell(json.dumps({"began_at_s": time.time()}))
            stopped = until(lambda: [p for p in processes if is_stopped(p)], what="one is stopped")
            (mark,) = it.rest()
        assert it.process.returncode == 0
        assert not any(map(is_stopped, processes))
    assert f"host {stopped[0].pid} of engine" in mark["what"]
    assert mark["at_s"] < mark["end_s"]


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def test_it_ends_without_a_load() -> None:
    with fake_fleet(engines=2) as (url, _), asked(replace(ORDER, url=url)) as it:
        assert it.answer() == {"faults": [str(fault) for fault in ON_ENGINES]}, "one gateway only"
        assert it.rest() == []
    assert it.process.returncode == 0


def test_a_target_that_cannot_be_asked_is_refused() -> None:
    with asked(ORDER) as it:
        assert "has no GET /fleet" in it.answer()["refused"]
        assert it.rest() == []


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "http://127.0.0.1:1/v1"])
def test_faults_need_a_plain_address(url: str) -> None:
    with pytest.raises(RefusedError, match="is not http://host:port"):
        Beside(replace(ORDER, url=url), lambda _: None)


@pytest.mark.parametrize(
    ("faults", "engines", "gateways", "expected"),
    [
        (None, 2, 2, (*ON_ENGINES, Fault.KILL_GATEWAY)),
        (None, 2, 1, ON_ENGINES),
        (None, 1, 2, (Fault.KILL_GATEWAY,)),
        (None, 1, 1, None),
        ((Fault.KILL_HOST,), 2, 1, (Fault.KILL_HOST,)),
        ((Fault.KILL_HOST, Fault.KILL_GATEWAY), 2, 1, None),
        ((Fault.KILL_HOST,), 0, 0, None),
    ],
)
def test_what_a_fleet_is_too_small_for_is_left_out_or_refused_where_it_was_named(
    faults: tuple[Fault, ...] | None,
    engines: int,
    gateways: int,
    expected: tuple[Fault, ...] | None,
) -> None:
    order = replace(ORDER, faults=faults)
    if expected is None:
        with pytest.raises(RefusedError, match="one is lost at a time"):
            beside._possible(order, engines, gateways)
    else:
        assert beside._possible(order, engines, gateways) == expected
