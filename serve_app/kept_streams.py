"""The resumable streams of one gateway: their events, who reads each, and what they may take.

A stream that nobody reads is kept for `window_s` after its reader left or its end, whichever is
later; where the app still generates then, it is told that its client has left. All streams together
keep at most `limit_bytes`, and beyond that at most one message of each stream that is being read.
Over the limit, in this order:

    1. streams that ended and that nobody reads are dropped, the first to end first
    2. the largest stream forgets the older half of what was read of it: a client that lost its
       connection comes back for what is newer
    3. where nothing was read of it and nobody reads it, it is dropped

The app of a stream whose reader is slow waits for the reader, as it would on a bare connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from prometheus_client import Gauge
from starlette.types import Message

from cluster.admission.tenants import OPEN
from serve_app.event_log import EventLog

READ_BYTES = 65_536
"""What a reader takes at once, and may be behind before the app waits: uvicorn's own limit."""

TOKEN_BYTES = 16
STREAM_HEADER = b"x-tokenfleet-stream"

_streams = Gauge("tokenfleet_resumable_streams", "Resumable streams kept, running and ended.")
_bytes = Gauge("tokenfleet_resumable_bytes", "Memory that the events of resumable streams take.")


class StreamLostError(Exception):
    """The stream cannot be read on: another reader took over, or it was dropped."""


class KeptStreams:
    """`owner` names this gateway; used on one event loop."""

    def __init__(self, owner: str, limit_bytes: int, window_s: float) -> None:
        self.owner = owner
        self.window_s = window_s
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._streams: dict[str, KeptStream] = {}  # the ended ones are in the order of their ends

    def open(
        self, start: Message, abandon: Callable[[], object], tenant: str = OPEN.name
    ) -> KeptStream:
        """A new stream under a new token. `start` begins the response, for every reader; `abandon`
        is called where the stream is dropped; `tenant` is whose it is."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._streams[token] = stream = KeptStream(self, token, start, abandon, tenant)
        _streams.inc()
        return stream

    def find(self, token: str, tenant: str = OPEN.name) -> KeptStream | None:
        """A tenant's stream; another's is none."""
        stream = self._streams.get(token)
        return stream if stream is not None and stream.tenant == tenant else None

    def grow(self, size_bytes: int) -> None:
        """Account for what a stream's log grew by."""
        self._size_bytes += size_bytes
        _bytes.inc(size_bytes)

    def ended(self, stream: KeptStream) -> None:
        """Note that a stream's last event has come."""
        if self._streams.pop(stream.token, None) is not None:
            self._streams[stream.token] = stream

    def drop(self, stream: KeptStream) -> None:
        """Forget a stream and everything of it."""
        if self._streams.pop(stream.token, None) is not None:
            _streams.dec()
            self.grow(-stream.log.size_bytes)
            stream.dropped()

    def close(self) -> None:
        """Drop every stream."""
        for stream in list(self._streams.values()):
            self.drop(stream)

    def make_room(self) -> bool:
        """Keep to the limit; whether that succeeded."""
        while self._size_bytes > self._limit_bytes:
            over = next((s for s in self._streams.values() if s.is_over), None)
            if over is not None:
                self.drop(over)
                continue
            largest = max(self._streams.values(), key=KeptStream.spare_bytes)
            if not largest.spare_bytes():
                return False
            freed_bytes = largest.log.forget_older_half()
            self.grow(-freed_bytes)
            if not freed_bytes:
                self.drop(largest)
        return True


class KeptStream:
    """One stream: the app appends, one reader at a time reads."""

    def __init__(
        self,
        streams: KeptStreams,
        token: str,
        start: Message,
        abandon: Callable[[], object],
        tenant: str,
    ) -> None:
        self.token = token
        self.tenant = tenant
        self.name = f"{streams.owner}.{token}"
        headers = [*start.get("headers", ()), (STREAM_HEADER, self.name.encode())]
        self.start: Message = {**start, "headers": headers}
        self.log = EventLog()
        self.ended = False
        self._streams = streams
        self._abandon = abandon
        self._reader: Reader | None = None
        self._readers = 0
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_dropped = False
        self._keep_for_window()

    @property
    def is_over(self) -> bool:
        """It ended, and nobody reads it."""
        return self.ended and not self._is_read

    def spare_bytes(self) -> int:
        """What it could forget and nobody would miss at once."""
        return self.log.size_bytes - (self.log.unread_bytes if self._is_read else 0)

    async def append(self, events: Sequence[bytes]) -> None:
        """Keep these; returns when the reader, if there is one, is not far behind."""
        if self._is_dropped:
            return  # as a server's `send` once its client has left
        for event in events:
            self._streams.grow(self.log.append(event))
        allowed_bytes = READ_BYTES if self._streams.make_room() else 0
        self.wake()
        while self._is_read and self.log.unread_bytes > allowed_bytes:
            await self.changed()

    def end(self) -> None:
        """The last event was appended."""
        self.ended = True
        self._streams.ended(self)
        self.wake()
        if not self._is_read:
            self._keep_for_window()

    def claim(self, position: int) -> Reader | None:
        """Read from event `position` on, in place of whoever reads now; None where that event is
        not kept any more, or was never there."""
        if self._is_dropped or not self.log.seek(position):
            return None
        self._end_reader()
        self.wake()
        self._readers += 1
        self._reader = Reader(self, self._readers)
        return self._reader

    def claimed(self, number: int) -> Reader | None:
        """The reader of that number, where no later one has taken over."""
        is_current = self._reader is not None and self._reader.number == number
        return self._reader if is_current else None

    def entered(self) -> None:
        """The reader is there."""
        if self._timer is not None:
            self._timer.cancel()

    def left(self) -> None:
        """The reader is away, maybe for good."""
        self.wake()
        self._keep_for_window()

    def dropped(self) -> None:
        """It is kept no more."""
        self._is_dropped = True
        self.log = EventLog()
        if self._timer is not None:
            self._timer.cancel()
        self._end_reader()
        self.wake()
        self._abandon()

    async def changed(self) -> None:
        """Wait for an event, the end, or the reader's progress."""
        await self._changed.wait()

    @property
    def _is_read(self) -> bool:
        return self._reader is not None and self._reader.is_here

    def _end_reader(self) -> None:
        if self._reader is not None:
            self._reader.lose()

    def wake(self) -> None:
        """Tell who waits in `changed`."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _keep_for_window(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_dropped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._streams.window_s, self._streams.drop, self)


class Reader:
    """One connection's place in a stream, valid until the next one's claim; here within `with`."""

    def __init__(self, stream: KeptStream, number: int) -> None:
        self.number = number
        self.start = stream.start
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_here = False
        self._stream = stream

    def __enter__(self) -> Self:
        self.is_here = True
        if not self.lost.done():
            self._stream.entered()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_here = False
        if not self.lost.done():
            self._stream.left()

    def lose(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    async def read(self) -> bytes:
        """The next events, each behind its id, once there are any; empty at the stream's end.

        Raises:
            StreamLostError: another reader took over, or the stream was dropped.
        """
        while not self.lost.done():
            if events := self._stream.log.take(READ_BYTES):
                self._stream.wake()
                name = self._stream.name
                return b"".join(b"id: %b.%d\n%b" % (name.encode(), n, e) for n, e in events)
            if self._stream.ended:
                return b""
            await self._stream.changed()
        raise StreamLostError
