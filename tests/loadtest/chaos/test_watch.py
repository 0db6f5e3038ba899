"""Looking at a cluster: through its ingress, or at each of its gateways' own ports."""

import asyncio
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from loadtest.chaos import watch
from loadtest.chaos.watch import Watch
from loadtest.client import Endpoint


@contextmanager
def gateway(moved: int = 0, failed: int = 0, key: str | None = None) -> Iterator[Endpoint]:
    """A server of this process that answers as a gateway does, to whoever has the `key`."""
    flights = {"active": 0, "moved": moved, "failed": failed}
    row = {"id": "a", "state": "ready", "pid": os.getpid(), "running": 0, "waiting": 0}
    models = [{"name": "m", "engines": [row], "flights": flights}]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = self.headers.get("Authorization")
            allowed = key is None or shown == f"Bearer {key}"
            self.send_response(200 if self.path == "/fleet" and allowed else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"models": models}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Endpoint("127.0.0.1", server.server_port)
        server.shutdown()
        thread.join()


def test_through_the_ingress_alone_no_process_is_looked_at() -> None:
    with gateway(moved=3) as endpoint:
        seen = Watch(endpoint, "m", local=False)
        view = asyncio.run(seen.look())
    assert view.ready == {"a": os.getpid()}
    assert seen.counted == (3, 0)
    assert asyncio.run(seen.rss_bytes()) == {}
    assert seen.herd.orphans(living=(), within_s=0) == []


def test_a_gateways_own_port_is_the_one_that_answers_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, gateway() as endpoint:
        silent.settimeout(0)
        threading.Thread(target=_refuse, args=(silent,)).start()
        assert watch._endpoint_of(os.getpid()) == endpoint
        silent.shutdown(socket.SHUT_RDWR)
    assert watch._endpoint_of(os.getpid()) is None


def test_a_cluster_with_tenants_is_looked_at_with_an_admins_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with gateway(key="secret") as ingress:
        assert watch._endpoint_of(os.getpid()) is None
        shown = Endpoint(ingress.host, ingress.port, "secret")
        process = SimpleNamespace(pid=os.getpid(), title="ray::ServeReplica:default:Gateway")
        monkeypatch.setattr(watch, "server_processes", lambda port: [process])
        for local in (False, True):
            assert asyncio.run(Watch(shown, "m", local=local).look()).ready == {"a": os.getpid()}
            assert not asyncio.run(Watch(ingress, "m", local=local).look()).gateways
    assert "secret" not in repr(shown)


def _refuse(listener: socket.socket) -> None:
    """Close whatever connects, as a server of another protocol does."""
    listener.settimeout(None)
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def test_what_a_dead_gateway_counted_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway(moved=3, failed=1) as first, gateway(moved=2) as second:
        alive = {"1": first, "2": second}
        monkeypatch.setattr(watch, "_gateways", lambda *_: dict(alive))
        seen = Watch(first, "m", local=True)
        assert len(asyncio.run(seen.look()).gateways) == 2
        del alive["1"]
        asyncio.run(seen.find_gateways())
        assert list(asyncio.run(seen.look()).gateways) == ["2"]
    assert seen.counted == (5, 1)
