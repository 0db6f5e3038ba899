"""A streaming HTTP/1.1 client that costs little enough to share a small machine with the server.

One `Connection` is one TCP connection with at most one request on it, kept alive between requests.
While a response arrives the client stamps each read, lets httptools (C) undo the HTTP framing, and
stores (instant, bytes); `loadtest/reply.py` makes sense of them later. No JSON, no tasks per chunk,
no timer per chunk. Instants are of the read that brought the bytes: two chunks that one read brings
have the same instant.

Errors are data, not exceptions: whatever happens to a request ends up in `RawReply.failure`.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httptools

from loadtest.reply import RawReply

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an OpenAI-compatible server listens, and the key that it wants, if any."""

    host: str
    port: int
    api_key: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @classmethod
    def of(cls, url: str, api_key: str | None = None) -> "Endpoint":
        """From `http://host[:port]`. Raises ValueError for anything else: no TLS, no path."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"{url!r} is not http://host:port")
        return cls(parts.hostname, parts.port or 80, api_key)


def render_post(
    endpoint: Endpoint,
    path: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a JSON POST request, rendered before the clock starts."""
    content = json.dumps(body, ensure_ascii=False).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {endpoint.host}:{endpoint.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in (endpoint.headers | dict(headers or {})).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Connection(asyncio.Protocol):
    """Use `connect`, then `exchange` as often as `usable`."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._now_s = 0.0  # instant of the read being parsed
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._reply = RawReply(t0_s=0.0)
        self._ended: asyncio.Future[None] | None = None
        self.usable = False

    @classmethod
    async def connect(cls, endpoint: Endpoint, clock: Clock = monotonic) -> Self:
        """Raises OSError where nobody listens."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(clock), endpoint.host, endpoint.port
        )
        return connection

    async def exchange(self, request: bytes, timeout_s: float) -> RawReply:
        """Sends rendered `request` bytes; returns when the response ended, however it did."""
        if self._transport is None or not self.usable:
            raise RuntimeError("connection is not usable; connect again")
        self._ended = ended = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._reply = reply = RawReply(t0_s=self._clock())
        self._transport.write(request)
        try:
            await asyncio.wait({ended}, timeout=timeout_s)
        finally:  # no-op unless the time is over or this task was cancelled
            self._fail(f"timeout after {timeout_s:g} s")
        return reply

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        self._now_s = self._clock()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"bad HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._fail(f"disconnected: {exc or 'end of stream'}")

    # What httptools calls, from within data_received.

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._reply.parts.append((self._now_s, body))

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.usable = False
        self._end()

    def _fail(self, reason: str) -> None:
        """No-op once the response is complete: a server may close an idle connection."""
        if self._ended is not None and not self._ended.done():
            self._reply.failure = reason
            self._end()
            self.close()

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


class Stream:
    """Requests one after the other, over one connection for as long as the server keeps it."""

    def __init__(self, endpoint: Endpoint, clock: Clock = monotonic) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._connection: Connection | None = None

    async def send(self, request: bytes, timeout_s: float) -> RawReply:
        """The reply, or why there is none. Connecting is not part of its time."""
        try:
            connection = await self._usable_connection()
        except OSError as error:
            return RawReply(t0_s=self._clock(), failure=f"connect: {error}")
        return await connection.exchange(request, timeout_s)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def _usable_connection(self) -> Connection:
        if self._connection is None or not self._connection.usable:
            self.close()
            self._connection = await Connection.connect(self._endpoint, self._clock)
        return self._connection
