"""Streams whose client may lose its connection and come back for the rest.

A request with `x-tokenfleet-resumable: true` whose answer is an event stream runs detached from its
connection: its events are kept (`serve_app.kept_streams`), each with an id, and a connection only
reads them. A request with `Last-Event-ID` reads the same stream on, here or through the gateway
that keeps it (`serve_app.peers`), if it is of the same tenant; another tenant's is not found. Any
other answer is passed on as it is.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager
from typing import Any, Protocol

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.caller import CALLER
from serve_app.dispatch import disconnected, replayed, run_app
from serve_app.errors import StreamGoneError
from serve_app.kept_streams import KeptStream, KeptStreams, StreamLostError
from serve_app.peers import PeerRead, PeerReader
from serve_app.sse_events import EventId, EventSplitter

logger = logging.getLogger("tokenfleet.gateway")

RESUMABLE_HEADER = b"x-tokenfleet-resumable"
LAST_EVENT_ID_HEADER = b"last-event-id"

_resumes = Counter(
    "tokenfleet_stream_resumes",
    "Clients that came back: to a stream kept here, at a peer, gone.",
    ["kept"],
)


def asks_for_ids(scope: Scope) -> bool:
    """Whether the client wants a stream that it can resume."""
    return (_header(scope, RESUMABLE_HEADER) or "").lower() == "true"


def last_event_id(scope: Scope) -> str | None:
    """The last event that the client has seen of a stream, where it is one that comes back."""
    return _header(scope, LAST_EVENT_ID_HEADER)


def _header(scope: Scope, wanted: bytes) -> str | None:
    if scope["type"] != "http":
        return None
    found = (value for name, value in scope["headers"] if name == wanted)
    value = next(found, None)
    return None if value is None else value.decode("latin-1").strip()


class StreamReader(AbstractContextManager[Any], Protocol):
    """A connection's place in a stream; `lost` is done once it has none any more."""

    start: Message
    lost: asyncio.Future[None]

    async def read(self) -> bytes: ...


class Resumable:
    """Runs resumable requests, and serves clients that come back."""

    def __init__(self, streams: KeptStreams, peer_read: PeerRead) -> None:
        self._streams = streams
        self._peer_read = peer_read
        self._runs: set[asyncio.Task[None]] = set()

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by `app`. The first message must bring its whole body."""
        body: bytes = (await receive()).get("body", b"")
        run = _Run(self._streams, send)
        task = asyncio.ensure_future(run_app(app, scope, replayed(body, _never), run.send))
        run.follow(task)
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        left = asyncio.ensure_future(disconnected(receive))
        try:
            events: set[asyncio.Future[Any]] = {task, left, run.stream}
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if run.stream.done():
                await _pass_on(run.stream.result().claim(0), left, send)
            elif task.done():
                task.result()
        finally:
            left.cancel()
            if not run.stream.done():
                task.cancel()

    async def resume(self, event_id: str, receive: Receive, send: Send) -> None:
        """Send the rest of a stream, of which an earlier connection then gets no more.

        Raises:
            BadEventIdError: it is no id of a stream's event.
            StreamGoneError: the stream is not kept, or not from that event on.
        """
        last = EventId.parse(event_id)
        is_here = last.owner == self._streams.owner
        reader = self._reader(last) if is_here else await PeerReader.open(self._peer_read, last)
        _resumes.labels("gone" if reader is None else "here" if is_here else "peer").inc()
        if reader is None:
            raise StreamGoneError(
                "the stream of this Last-Event-ID cannot be resumed: it is kept no more "
                "(gateway.resume_window_s, gateway.resume_buffer_mb), or its gateway is gone; "
                "send the request again"
            )
        left = asyncio.ensure_future(disconnected(receive))
        try:
            await _pass_on(reader, left, send)
        finally:
            left.cancel()

    def _reader(self, last: EventId) -> StreamReader | None:
        stream = self._streams.find(last.token, CALLER.get().tenant.name)
        return None if stream is None else stream.claim(last.number + 1)

    def close(self) -> None:
        """End every stream, and what generates it."""
        self._streams.close()
        for task in self._runs:
            task.cancel()


class _Run:
    """The `send` of a request's app: to the connection, until the answer proves to be a stream."""

    def __init__(self, streams: KeptStreams, send: Send) -> None:
        self.stream: asyncio.Future[KeptStream] = asyncio.get_running_loop().create_future()
        self._streams = streams
        self._send = send
        self._events = EventSplitter()

    def follow(self, task: asyncio.Task[None]) -> None:
        """`task` is the app's; a stream that is dropped ends it."""
        self._abandon = task.cancel
        task.add_done_callback(self._over)

    async def send(self, message: Message) -> None:
        if self.stream.done():
            await self._keep(self.stream.result(), message)
        elif message["type"] == "http.response.start" and is_event_stream(message):
            tenant = CALLER.get().tenant.name
            self.stream.set_result(
                self._streams.open(_of_any_length(message), self._abandon, tenant)
            )
        else:
            await self._send(message)

    async def _keep(self, stream: KeptStream, message: Message) -> None:
        events = self._events.feed(message.get("body", b""))
        if message.get("more_body", False):
            await stream.append(events)
        else:
            await stream.append(events + self._events.end())
            stream.end()

    def _over(self, task: asyncio.Task[None]) -> None:
        if self.stream.done():
            stream = self.stream.result()
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a resumable stream failed", exc_info=error)
            if not stream.ended:
                self._streams.drop(stream)
        elif not task.cancelled():
            task.exception()  # its connection's, if that is there still


def is_event_stream(start: Message) -> bool:
    """Whether a response is one whose events can be told apart: a compressed one is not."""
    headers = Headers(raw=start.get("headers", ()))
    is_stream = headers.get("content-type", "").startswith("text/event-stream")
    return is_stream and "content-encoding" not in headers


def _of_any_length(start: Message) -> Message:
    headers = MutableHeaders(raw=list(start.get("headers", ())))
    del headers["content-length"]  # ids make it longer
    return {**start, "headers": headers.raw}


async def _pass_on(reader: StreamReader | None, left: asyncio.Future[None], send: Send) -> None:
    """Send the stream until its end, or until the client or the reader's place is gone."""
    if reader is None:
        return
    with reader:
        copying = asyncio.ensure_future(_copy(reader, send))
        try:
            waited_for = {copying, left, reader.lost}
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if copying.done():
                copying.result()
        finally:
            copying.cancel()


async def _copy(reader: StreamReader, send: Send) -> None:
    await send(reader.start)
    try:
        while body := await reader.read():
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except StreamLostError:
        return  # the response stays unfinished, so that the server cuts the connection
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _never() -> Message:
    return await asyncio.get_running_loop().create_future()
