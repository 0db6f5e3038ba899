"""The answer to a request that may still be refused, or may have to wait, when its app begins.

vLLM sends the headers of a stream before it has an engine for it. They are kept back here until the
first event, so that a refusal is a response with its own status and Retry-After. Where the wait
gets long they go out, and comments keep the stream alive; from then on a refusal is an event. So do
they while a stream is paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import Message, Send

from serve_app.errors import GatewayError
from serve_app.held_requests import COMMENT, COMMENT_EVERY_S, PATIENCE_S
from serve_app.resumable import is_event_stream
from serve_app.ticket import Ticket


def refusal(error: GatewayError) -> JSONResponse:
    """The response that says so."""
    after_s = error.retry_after_s
    headers = {} if after_s is None else {"retry-after": str(after_s)}
    return JSONResponse(error.body(), error.status, {**error.headers, **headers})


class AdmittedAnswer:
    """The `send` of a model's app. `retry_after_s`: for its own 503s. `on_status` is told of the
    answer's, once. To be closed when the app is over."""

    def __init__(
        self,
        send: Send,
        ticket: Ticket | None,
        retry_after_s: Callable[[], int],
        on_status: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._on_status = on_status
        self._send, self._ticket, self._retry_after_s = send, ticket, retry_after_s
        self._start: Message | None = None  # kept back
        self._passes = self._is_refused = self._is_stream = False
        self._patience: asyncio.TimerHandle | None = None
        self._keeping: asyncio.Task[None] | None = None
        if ticket is not None:
            ticket.on_wait = self._begin_patience

    async def __call__(self, message: Message) -> None:
        if self._passes:
            if self._patience is not None:
                await self.close()
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = _with_retry_after(message, self._retry_after_s)
            self._is_stream = is_event_stream(message)
        elif not self._is_refused:
            await self._first(message)

    async def _first(self, message: Message) -> None:
        """A body's first part, or a websocket's message."""
        await self.close()
        error = None if self._ticket is None else self._ticket.refusal
        if error is not None and self._start is not None:
            self._is_refused = True
            self._on_status(error.status)
            await refusal(error)({"type": "http"}, _nothing, self._send)
            return
        self._passes = True
        if self._start is not None:
            await self._send_start()
        await self._send(message)

    def _begin_patience(self) -> None:
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(PATIENCE_S, self._begin_keeping)

    def _begin_keeping(self) -> None:
        if self._is_stream:  # one whose app has begun
            self._keeping = asyncio.ensure_future(self._keep_alive())

    async def _keep_alive(self) -> None:
        if self._start is not None:
            await self._send_start()
        while True:
            await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
            await asyncio.sleep(COMMENT_EVERY_S)

    async def _send_start(self) -> None:
        start, self._start = self._start, None
        assert start is not None
        self._on_status(start["status"])
        await self._send(start)

    async def close(self) -> None:
        """No more comments."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
            self._keeping = None


def _with_retry_after(start: Message, retry_after_s: Callable[[], int]) -> Message:
    """Every 503 tells the client when to try again, vLLM's own too."""
    if start["status"] != 503:
        return start
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    headers.setdefault("retry-after", str(retry_after_s()))
    return {**start, "headers": headers.raw}


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
