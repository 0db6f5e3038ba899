"""A model whose app streams what a test gives it, and clients that read some of it and are lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.serve_app.stub_models import StubModel

EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_EVENT = re.compile(rb"id: ([^\n]*)\n(.+?(?:\n\n|\r\n\r\n))", re.DOTALL)
RESUMABLE = {"x-tokenfleet-resumable": "true"}


class StreamingModel(StubModel):
    """Streams `chunks`; then ends, or goes on `until_left`, or fails with `error`."""

    def __init__(
        self,
        chunks: Iterable[bytes] = (),
        *,
        until_left: bool = False,
        error: Exception | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (EVENT_STREAM,),
    ) -> None:
        super().__init__("one")
        self.chunks = list(chunks)
        self.requests = self.sent = 0
        self.body = b""
        self.left = asyncio.Event()
        self._until_left, self._error, self._headers = until_left, error, list(headers)

    async def ready_app(self, *, for_engine: bool = True) -> ASGIApp:  # type: ignore[override]
        return self._stream

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        self.body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self.sent += 1
            await asyncio.sleep(0)  # as an app between two tokens
        if self._error is not None:
            raise self._error
        if self._until_left:
            assert await receive() == {"type": "http.disconnect"}
            self.left.set()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Connection:
    """One request to an app. It takes `most` bytes of the answer, then the client is lost: it
    leaves, or, where `silent`, its connection just stands still."""

    def __init__(
        self,
        app: ASGIApp,
        headers: dict[str, str],
        *,
        most: float = float("inf"),
        silent: bool = False,
        method: str = "POST",
    ) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self.lost = asyncio.Event()
        self._most, self._silent = most, silent
        self._given = False
        scope = {
            "type": "http",
            "method": method,
            "path": "/v1/completions",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": b'{"model": "one"}', "more_body": False}
        await self.lost.wait()
        if self._silent:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self.lost.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            return
        self.body += message.get("body", b"")
        self.complete = not message.get("more_body", False)
        if len(self.body) >= self._most:
            self.body = self.body[: int(self._most)]
            self.complete = False
            self.lost.set()
            if self._silent:
                await asyncio.Event().wait()

    @property
    def events(self) -> list[tuple[str, bytes]]:
        """The ids and the bytes of the events that came whole."""
        return [(name.decode(), event) for name, event in _EVENT.findall(self.body)]


def resume(app: ASGIApp, event_id: str, **more: Any) -> Connection:
    return Connection(app, {"Last-Event-ID": event_id}, **more)
