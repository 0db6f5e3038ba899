"""A switch over its real sockets: its API server's side, and engine hosts over fake cores."""

from __future__ import annotations

from cluster.failover import FailoverLimits
from cluster.routing.least_load import LeastOutstandingTokens
from serve_app.switch import Switch
from tests.serve_app.fake_core import HEARTBEAT, HostThread
from tests.serve_app.front import DEADLINE_S, Front

PROMPT = [1, 2, 3]


class Fleet:
    """A switch, its API server's sockets, and as many hosts as a test wants."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostThread] = {}
        self.switch = Switch(
            name="model",
            router=LeastOutstandingTokens(),
            limits=FailoverLimits(hold_timeout_s=30.0, finish_within_s=0.0),
            max_flights=1000,
            heartbeat=HEARTBEAT,
        )
        self.front = Front(self.switch.addresses)

    def start(self, *engine_ids: str, **core) -> None:
        for engine_id in engine_ids:
            self.hosts[engine_id] = HostThread(engine_id, **core)
        self.announce()

    def announce(self) -> None:
        """What Serve does whenever the set of replicas changes."""
        self.switch.set_members({i: host.endpoint for i, host in self.hosts.items()})

    def attach(self) -> bytes:
        self.switch.first_ready().result(DEADLINE_S)
        self.switch.attach_front()
        return self.front.wait_ready()

    def running(self) -> HostThread:
        """The host that has the (only) request."""
        (host,) = [host for host in self.hosts.values() if host.core.running]
        return host

    def close(self) -> None:
        self.switch.stop()
        self.front.close()
        for host in self.hosts.values():
            host.close()
