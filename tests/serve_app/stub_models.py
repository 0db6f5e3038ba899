"""Stand-ins for `ModelApp` under a Shell: tiny ASGI apps that say which model they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from cluster.admission.tenants import Tenant
from serve_app.access_control import AccessControl
from serve_app.dispatch import SESSION_ID_HEADER
from serve_app.errors import RETRY_AFTER_S, GatewayError
from serve_app.gateway import Shell
from serve_app.kept_streams import KeptStreams
from serve_app.resumable import Resumable
from serve_app.sse_events import EventId
from serve_app.usage_book import Sums
from serve_app.usage_route import UsageOfAll, UsageRoute
from tests.waiting import DEADLINE_S

LIMIT = 1000  # bytes of a body


@dataclass
class StubSwitch:
    engines: int

    def ready_engines(self) -> int:
        return self.engines

    def snapshot(self) -> dict[str, Any]:
        rows = [{"id": f"engine-{index}"} for index in range(self.engines)]
        return {"engines": rows, "flights": {"active": 0, "moved": 0, "failed": 0}}


@dataclass
class StubModel:
    """Serves `name` and its `adapters`; `refusal` is raised instead of giving the app."""

    name: str
    engines: int = 1
    adapters: tuple[str, ...] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    refusal: GatewayError | None = None
    failure: str | None = None
    by_session: bool = False
    asleep: bool = False

    def __post_init__(self) -> None:
        self.switch = StubSwitch(self.engines)
        self.registry = CollectorRegistry()
        self._app = Starlette(
            routes=[
                Route("/{path:path}", self._answer, methods=["GET", "POST", "DELETE", "HEAD"]),
                WebSocketRoute("/{path:path}", self._talk),
            ]
        )

    @property
    def ready(self) -> bool:
        return self.switch.engines > 0

    async def fleet_row(self) -> dict[str, Any]:
        return {"name": self.name, **self.switch.snapshot()}

    def serves(self, name: str) -> bool:
        return name in (self.name, *self.adapters)

    def retry_after_s(self, waited_s: float = 0.0) -> int:
        return RETRY_AFTER_S

    async def ready_app(self, *, for_engine: bool = True) -> Starlette:
        if self.refusal is not None:
            raise self.refusal
        return self._app

    async def model_cards(self) -> list[dict[str, Any]]:
        return [{"id": name, "object": "model"} for name in (self.name, *self.adapters)]

    async def _answer(self, request: Request) -> Response:
        body = (await request.body()).decode("latin-1")
        answer = {"answered_by": self.name, "path": request.url.path, "body": body}
        if SESSION_ID_HEADER in request.headers:
            answer["session"] = request.headers[SESSION_ID_HEADER]
        return JSONResponse(answer, self.status, self.headers)

    async def _talk(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(self.name)
        await socket.close()


async def no_peer(last: EventId, number: int | None) -> None:
    """A gateway that is the only one."""


async def no_usage() -> tuple[Sums, int]:
    """Of gateways that nobody asked for anything."""
    return {}, 0


def shell(
    *models: Any,
    resumable: Resumable | None = None,
    tenants: Sequence[Tenant] | None = None,
    usage: UsageOfAll = no_usage,
) -> Shell:
    """Of an open cluster, unless there are `tenants`."""
    resumable = resumable or Resumable(KeptStreams("here", 1_000_000, DEADLINE_S), no_peer)
    by_name = {model.name: model for model in models}
    return Shell(by_name, LIMIT, resumable, AccessControl(tenants), UsageRoute(usage))


async def send(app: Shell, method: str, path: str, **request: Any) -> httpx.Response:
    """One request to the app, in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.request(method, path, **request)


def ask(app: Shell, method: str, path: str, **request: Any) -> httpx.Response:
    """The same from synchronous code, not for ever."""
    return asyncio.run(asyncio.wait_for(send(app, method, path, **request), DEADLINE_S))
