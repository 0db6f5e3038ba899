"""Requests that wait for an engine: their clients may leave meanwhile, and streams are kept alive.

A client that waits long for the headers of an answer gives up, or a proxy between does. So one that
asked for a stream gets its headers after `PATIENCE_S`, and then a comment now and then, which every
reader of event streams skips. From there on its status is 200 whatever comes: the model's app still
answers as always, and what it says beside a stream's events (its status and headers, so an
`x-tokenfleet-stream` too, though not the events' ids) is dropped; an answer that is no stream, as
an error is, becomes one event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Send

from serve_app.dispatch import ClientGoneError, disconnected
from serve_app.errors import GatewayError
from serve_app.resumable import is_event_stream

PATIENCE_S = 3.0
"""Until then an error has its own status. Engines that only moved are back by then; none starts in
less."""

COMMENT_EVERY_S = 10.0
"""Proxies and clients commonly take a connection for dead after 30 to 60 silent seconds."""

COMMENT = b": waiting for an engine\n\n"

Run = Callable[[ASGIApp, Send], Awaitable[None]]


class _AsksForStream(msgspec.Struct):
    stream: bool | None = None


_decoder = msgspec.json.Decoder(_AsksForStream)


def asks_for_stream(body: bytes) -> bool:
    """Whether it is a JSON object with `"stream": true`."""
    try:
        return _decoder.decode(body).stream is True
    except (ValueError, RecursionError):  # vLLM will say what is wrong with it
        return False


async def run_when_ready(
    ready: Awaitable[ASGIApp], run: Run, receive: Receive, send: Send, *, keep_alive: bool
) -> None:
    """`run` the app that `ready` gives, which waits for an engine. `receive` brings nothing but the
    disconnect: the body has been read.

    Raises:
        GatewayError: what `ready` raises, while nothing was sent.
        ClientGoneError: the client left before there was an app.
    """
    waiting = asyncio.ensure_future(ready)
    leaving = asyncio.ensure_future(disconnected(receive))
    try:
        if not await _is_done(waiting, leaving, PATIENCE_S if keep_alive else None):
            send = await _keep_alive(waiting, leaving, send)
    finally:
        leaving.cancel()
        if not waiting.done():
            waiting.cancel()
    try:
        app = waiting.result()
    except GatewayError as error:
        if not isinstance(send, KeptAlive):
            raise
        await send.end_with(error.body())
        return
    await run(app, send)


async def _keep_alive(
    waiting: asyncio.Future[ASGIApp], leaving: asyncio.Future[None], send: Send
) -> KeptAlive:
    kept = KeptAlive(send)
    await kept.begin()
    while not await _is_done(waiting, leaving, COMMENT_EVERY_S):
        await kept.comment()
    return kept


async def _is_done(
    waiting: asyncio.Future[ASGIApp], leaving: asyncio.Future[None], timeout_s: float | None
) -> bool:
    """Whether the wait has ended by then. Raises ClientGoneError where its client left first."""
    events: set[asyncio.Future[Any]] = {waiting, leaving}
    await asyncio.wait(events, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if leaving.done() and not waiting.done():
        raise ClientGoneError
    return waiting.done()


class KeptAlive:
    """The `send` of an answer whose headers are out: those of an event stream."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_stream = True
        self._whole = b""  # of an answer that is no stream

    async def begin(self) -> None:
        """Send the headers, and a first comment."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would keep comments back
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.comment()

    async def comment(self) -> None:
        """Show that somebody is here."""
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})

    async def end_with(self, error: dict[str, Any]) -> None:
        """End with an event that says why."""
        await self._end(json.dumps(error).encode())

    async def __call__(self, message: Message) -> None:
        """What the model's app sends."""
        if message["type"] == "http.response.start":
            self._is_stream = message["status"] == 200 and is_event_stream(message)
        elif self._is_stream:
            await self._send(message)
        else:
            self._whole += message.get("body", b"")
            if not message.get("more_body", False):
                await self._end(self._whole)

    async def _end(self, text: bytes) -> None:
        event = b"".join(b"data: " + line + b"\n" for line in text.splitlines()) + b"\n"
        await self._send({"type": "http.response.body", "body": event, "more_body": False})
