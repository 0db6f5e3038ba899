"""Looks at the cluster again and again, and remembers what would be lost with a process."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic

import psutil

from loadtest.bench.servers import fetch
from loadtest.chaos.processes import Herd, rss_bytes
from loadtest.chaos.view import Flights, View, view_of
from loadtest.client import Endpoint
from loadtest.procstat import Role, role_of, server_processes

FIND_GATEWAYS_EVERY_S = 5.0  # a look at every process of the machine


class Watch:
    """`local`: the cluster runs on this machine, so its processes can be seen."""

    def __init__(self, endpoint: Endpoint, model: str, *, local: bool) -> None:
        self.herd = Herd()
        self._endpoint, self._model, self._local = endpoint, model, local
        self._gateways: dict[str, Endpoint] = {} if local else {"ingress": endpoint}
        self._found_at_s = float("-inf")
        self._flights: dict[str, Flights] = {}  # the last word of each gateway, dead ones too

    async def look(self) -> View:
        """Ask every gateway now."""
        if self._local and monotonic() > self._found_at_s + FIND_GATEWAYS_EVERY_S:
            await self.find_gateways()
        view = await view_of(self._gateways, self._model)
        if self._local and len(view.gateways) < len(self._gateways):
            self._found_at_s = float("-inf")
        self._flights |= {name: said.flights for name, said in view.gateways.items()}
        if self._local:
            for engine_id, pid in view.ready.items():
                self.herd.note(engine_id, pid)
        return view

    async def find_gateways(self) -> None:
        """Look for gateway processes of the cluster on this machine."""
        self._gateways = await asyncio.to_thread(_gateways, self._endpoint, self._gateways)
        self._found_at_s = monotonic()

    @property
    def counted(self) -> tuple[int, int]:
        """Requests moved and failed so far, over all gateways that ever answered."""
        flights = self._flights.values()
        return sum(each.moved for each in flights), sum(each.failed for each in flights)

    async def rss_bytes(self) -> dict[tuple[Role, int], int]:
        """Memory of every process of the cluster on this machine."""
        if not self._local:
            return {}
        return rss_bytes(await asyncio.to_thread(server_processes, self._endpoint.port))


def _gateways(ingress: Endpoint, known: Mapping[str, Endpoint]) -> dict[str, Endpoint]:
    """Each gateway's own endpoint, by its pid; `known` ones are not looked for again."""
    found = {}
    for process in server_processes(ingress.port):
        if role_of(process.title) is Role.GATEWAY:
            name = str(process.pid)
            endpoint = known.get(name) or _endpoint_of(process.pid, ingress.api_key)
            if endpoint is not None:
                found[name] = endpoint
    return found


def _endpoint_of(pid: int, api_key: str | None = None) -> Endpoint | None:
    """Where a gateway process itself serves HTTP: of its sockets, the one that answers so."""
    with suppress(psutil.Error):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                endpoint = Endpoint("127.0.0.1", connection.laddr.port, api_key)
                if fetch(endpoint, "/fleet") is not None:
                    return endpoint
    return None
