"""A switch between its API server's sockets and real engine hosts over fake cores."""

from __future__ import annotations

from typing import Any

from cluster.failover import FailoverLimits
from cluster.routing import Router
from cluster.routing.least_load import LeastOutstandingTokens
from serve_app.switch import Switch
from serve_app.wire_security import WireKeys
from tests.serve_app.builders import KEYS, request
from tests.serve_app.fake_core import HEARTBEAT, HostThread
from tests.serve_app.front import DEADLINE_S, Front

PROMPT = [1, 2, 3]


class Fleet:
    """A switch, its API server's sockets, and as many hosts as a test wants."""

    def __init__(self, keys: WireKeys = KEYS, router: Router | None = None) -> None:
        self.hosts: dict[str, HostThread] = {}
        self.switch = Switch(
            name="model",
            router=router or LeastOutstandingTokens(),
            limits=FailoverLimits(hold_timeout_s=30.0, finish_within_s=0.0),
            max_flights=1000,
            heartbeat=HEARTBEAT,
            keys=keys.own,
        )
        self.front = Front(self.switch.addresses)

    def start(self, *engine_ids: str, **core) -> None:
        for engine_id in engine_ids:
            self.hosts[engine_id] = HostThread(engine_id, **core)
        self.announce()

    def announce(self) -> None:
        """What Serve does whenever the set of replicas changes."""
        self.switch.set_members({i: host.address for i, host in self.hosts.items()})

    def attach(self) -> bytes:
        self.switch.first_ready().result(DEADLINE_S)
        self.switch.attach_front()
        return self.front.wait_ready()

    def running(self) -> HostThread:
        """The host that has the (only) request."""
        (host,) = [host for host in self.hosts.values() if host.core.running]
        return host

    def row(self, engine_id: str = "a") -> dict[str, Any]:
        """What `GET /fleet` shows of an engine."""
        (row,) = [row for row in self.switch.snapshot()["engines"] if row["id"] == engine_id]
        return row

    def close(self) -> None:
        self.switch.stop()
        self.front.close()
        for host in self.hosts.values():
            host.close()


def with_a_stream(fleet: Fleet, *engine_ids: str, **core: Any) -> HostThread:
    """Start engines that stand still after a stream's fifth token. Returns the one that has it."""
    fleet.start(*engine_ids, steps_allowed=5, **core)
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20))
    fleet.front.read_until_tokens("r", 5)
    return fleet.running()
