"""What `GET /fleet` says, of one gateway or of several that are asked one by one.

Each gateway counts its own requests and has its own links to the engines; behind the ingress any of
them may answer. Where they can be reached without it, all are asked, and an engine counts as ready
when every one of them has it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.bench.servers import fetch
from loadtest.client import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """One engine as one gateway sees it. `busy` is how many requests it has, of all gateways."""

    id: str
    state: str
    pid: int | None
    busy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flights:
    """One gateway's requests of a model, since it started but for `active`."""

    active: int
    moved: int
    failed: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What one gateway says of one model."""

    engines: tuple[EngineRow, ...]
    flights: Flights


@dataclass(frozen=True, slots=True)
class View:
    """What each gateway that answered says, by its name."""

    gateways: Mapping[str, Answered]

    @property
    def listed(self) -> dict[str, int | None]:
        """The host pid of every engine that any gateway lists, by id."""
        return {row.id: row.pid for row in self._rows() if row.pid is not None}

    @property
    def ready(self) -> dict[str, int]:
        """The host pid of every engine that all gateways have ready, by id."""
        sets = [
            {row.id for row in said.engines if row.state == "ready"}
            for said in self.gateways.values()
        ]
        everywhere = set.intersection(*sets) if sets else set()
        return {id: pid for id, pid in self.listed.items() if id in everywhere and pid is not None}

    @property
    def active(self) -> int:
        """Requests in flight at the gateways, or at engines for them."""
        at_gateways = sum(said.flights.active for said in self.gateways.values())
        return max(at_gateways, sum({row.id: row.busy for row in self._rows()}.values()))

    def is_whole(self, engines: int, gateways: int) -> bool:
        """All are there and ready, and none that is gone is listed still."""
        listed = {row.id for row in self._rows()}
        return (
            len(self.gateways) == gateways and len(self.ready) == engines and len(listed) == engines
        )

    def _rows(self) -> Iterable[EngineRow]:
        return (row for said in self.gateways.values() for row in said.engines)


async def view_of(gateways: Mapping[str, Endpoint], model: str) -> View:
    """Ask every gateway; those that do not answer are left out."""
    said = await asyncio.gather(
        *(asyncio.to_thread(_ask, endpoint, model) for endpoint in gateways.values())
    )
    pairs = zip(gateways, said, strict=True)
    return View({name: answered for name, answered in pairs if answered is not None})


def _ask(endpoint: Endpoint, model: str) -> Answered | None:
    body = fetch(endpoint, "/fleet")
    return None if body is None else read(json.loads(body), model)


def read(body: Mapping[str, Any], model: str) -> Answered | None:
    """A model's part of a `GET /fleet` body; None where it serves no such model."""
    row = next((each for each in body["models"] if each["name"] == model), None)
    if row is None:
        return None
    flights = Flights(**{key: row["flights"][key] for key in ("active", "moved", "failed")})
    return Answered(tuple(map(_engine, row["engines"])), flights)


def _engine(row: Mapping[str, Any]) -> EngineRow:
    busy = row["running"] + row["waiting"]
    return EngineRow(id=row["id"], state=row["state"], pid=row["pid"], busy=busy)
