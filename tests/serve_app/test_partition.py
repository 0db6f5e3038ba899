"""A gateway and an engine that cannot hear each other, though both live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.serve_app.builders import request
from tests.serve_app.fake_core import HEARTBEAT, HostThread, continuation
from tests.serve_app.lossy_path import LossyPath
from tests.serve_app.switch_fleet import PROMPT, Fleet
from tests.waiting import until

FOUND_WITHIN_S = 4 * HEARTBEAT.timeout_s  # of which most is this machine's, not the heartbeat's
DIRECTIONS = [
    pytest.param({"to_engine": True, "to_switch": True}, id="both directions"),
    pytest.param({"to_engine": True, "to_switch": False}, id="to the engine"),
    pytest.param({"to_engine": False, "to_switch": True}, id="to the switch"),
]


class Partitioned(Fleet):
    """Engine `a` is reached over a path that a test can cut, `b` directly; both stand still after a
    stream's fifth token, which `a` has."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts["a"] = HostThread("a", steps_allowed=5)
        address = self.hosts["a"].address
        self.path = LossyPath(address.endpoint)
        self.hosts["a"].address = replace(address, endpoint=self.path.endpoint)
        self.announce()
        self.attach()
        self.front.add(request("r", max_tokens=20))
        self.front.read_until_tokens("r", 5)
        self.start("b")
        until(lambda: self.switch.ready_engines() == 2)

    def allow(self, engine_id: str, steps: int | None = None) -> None:
        host = self.hosts[engine_id]
        host.call(lambda: host.core.allow(steps))

    def close(self) -> None:
        super().close()
        self.path.close()


@pytest.fixture
def fleet() -> Iterator[Partitioned]:
    fleet = Partitioned()
    yield fleet
    fleet.close()


@pytest.mark.parametrize("cut", DIRECTIONS)
def test_its_streams_go_on_elsewhere_and_both_sides_find_out(fleet, cut):
    cut_at_s = time.monotonic()
    fleet.path.cut(**cut)
    fleet.front.read_until_finished("r")
    assert time.monotonic() - cut_at_s < FOUND_WITHIN_S
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    zombie = fleet.hosts["a"]
    until(lambda: zombie.call(lambda: not zombie.core.running), within_s=FOUND_WITHIN_S)


def test_what_the_lost_engine_still_said_comes_late_and_is_dropped(fleet):
    fleet.path.cut(to_engine=True, to_switch=True)
    fleet.allow("a", 3)  # said into the void, while the switch has given it up or not
    fleet.front.read_until_finished("r")
    fleet.path.mend()
    until(lambda: fleet.switch.ready_engines() == 2)
    fleet.front.add(request("s", max_tokens=3))
    fleet.allow("a")
    fleet.front.read_until_finished("s")
    assert fleet.front.tokens == {"r": continuation(PROMPT, 20), "s": continuation(PROMPT, 3)}
    assert fleet.switch.snapshot()["flights"] == {"active": 0, "moved": 1, "failed": 0}
