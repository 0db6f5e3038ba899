"""A stream that another gateway keeps, read through Ray Serve's own handle.

The one thing that tokens pass through Serve for: a client that lost its connection may come back
through any gateway. Its gateway then asks all gateways for the stream, part by part: behind
HAProxy, Serve lets nobody choose which replica of an ingress deployment a call goes to, but it can
call every one, and all but the stream's own answer at once. Each part costs a call per gateway, so
they are few and large. Between two parts the stream counts as left, and is kept as long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ray.serve.handle import DeploymentHandle
from starlette.types import Message

from serve_app.broadcast import ask_all
from serve_app.caller import CALLER
from serve_app.kept_streams import READ_BYTES, KeptStreams, StreamLostError
from serve_app.sse_events import EventId

logger = logging.getLogger("tokenfleet.gateway")

PART_EVERY_S = 0.1
"""A client that has caught up gets its events in parts so far apart."""

PART_WITHIN_S = 5.0
"""How long the stream's gateway waits for an event before it answers that there is none yet."""

ANSWER_WITHIN_S = 15.0
"""How long a call may take in all: a gateway that hangs must not hold up the others' streams."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a stream's gateway answers. The first has no events, but says who the reader is now."""

    reader: int
    start: Message
    body: bytes
    complete: bool


PeerRead = Callable[[EventId, int | None], Awaitable[Part | None]]
"""Read a stream that another gateway keeps: from behind an event as a new reader (None), or on as
the reader it already is. None where no gateway keeps it, or another reader took over."""


def peer_read(gateways: Callable[[], DeploymentHandle]) -> PeerRead:
    """Over the handle of all gateways, which have `read_stream`."""

    async def read(last: EventId, number: int | None) -> Part | None:
        try:
            tenant = CALLER.get().tenant.name
            call = ("read_stream", last, number, tenant)
            answers = await ask_all(gateways(), *call, within_s=ANSWER_WITHIN_S)
        except TimeoutError:
            logger.warning("a gateway did not answer within %g s", ANSWER_WITHIN_S)
            return None
        for error in answers:
            if isinstance(error, Exception):  # that gateway dies, and its streams with it
                logger.warning("a gateway could not be asked for a stream: %s", error)
        return next((part for part in answers if isinstance(part, Part)), None)

    return read


async def read_for_peer(
    streams: KeptStreams, last: EventId, number: int | None, tenant: str
) -> Part | None:
    """The asked gateway's side of `PeerRead`; `tenant` is whose client asks."""
    stream = streams.find(last.token, tenant)
    if stream is None:
        return None
    reader = stream.claim(last.number + 1) if number is None else stream.claimed(number)
    if reader is None:
        return None
    with reader:
        if number is None:
            return Part(reader.number, stream.start, b"", complete=False)
        try:
            body = await asyncio.wait_for(reader.read(), PART_WITHIN_S)
        except TimeoutError:
            return Part(reader.number, {}, b"", complete=False)
        except StreamLostError:
            return None
        return Part(reader.number, {}, body, complete=not body)


class PeerReader(AbstractContextManager["PeerReader"]):
    """The asking gateway's side, as a reader of the stream."""

    def __init__(self, read: PeerRead, last: EventId, first: Part) -> None:
        self._read, self._last, self._number = read, last, first.reader
        self._caught_up = False
        self.start = first.start
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __exit__(self, *error: object) -> None:
        """Nothing to give up: the stream counts as left between two parts."""

    @classmethod
    async def open(cls, read: PeerRead, last: EventId) -> PeerReader | None:
        """None where the stream, or its gateway, is gone."""
        first = await read(last, None)
        return None if first is None else cls(read, last, first)

    async def read(self) -> bytes:
        """As `kept_streams.Reader.read`."""
        while True:
            if self._caught_up:
                await asyncio.sleep(PART_EVERY_S)
            part = await self._read(self._last, self._number)
            if part is None:
                raise StreamLostError
            self._caught_up = len(part.body) < READ_BYTES // 2
            if part.body or part.complete:
                return part.body
