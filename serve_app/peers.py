"""A stream that another gateway keeps, read through Ray Serve's own handle.

The one thing that tokens pass through Serve for: a client that lost its connection may come back
through any gateway. Its gateway asks the stream's, part by part, so that a slow client holds
nothing up but its own stream. Between two parts the stream counts as left, and is kept as long.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import LocalityMixin, PendingRequest, RequestRouter, RunningReplica
from starlette.types import Message

from serve_app.kept_streams import KeptStreams, StreamLostError
from serve_app.sse_events import EventId

logger = logging.getLogger("tokenfleet.gateway")

OWNER_KEY = "owner"
CANDIDATES = 2


@dataclass(frozen=True, slots=True)
class Part:
    """What a stream's gateway answers. The first brings no body, but who the reader is now."""

    reader: int
    start: Message
    body: bytes


PeerRead = Callable[[EventId, int | None], Awaitable[Part | None]]
"""Read a stream that another gateway keeps: from behind an event as a new reader (None), or on as
the reader it already is. None where that cannot be."""


async def read_for_peer(streams: KeptStreams, last: EventId, number: int | None) -> Part | None:
    """The stream's gateway's side of `PeerRead`."""
    stream = streams.find(last.token)
    if stream is None:
        return None
    reader = stream.claim(last.number + 1) if number is None else stream.claimed(number)
    if reader is None:
        return None
    with reader:
        if number is None:
            return Part(reader.number, stream.start, b"")
        try:
            return Part(reader.number, {}, await reader.read())
        except StreamLostError:
            return None


class PeerReader(AbstractContextManager["PeerReader"]):
    """This gateway's side, as a reader of the stream."""

    def __init__(self, read: PeerRead, last: EventId, first: Part) -> None:
        self._read, self._last, self._number = read, last, first.reader
        self.start = first.start
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __exit__(self, *error: object) -> None:
        """Nothing to give up: the stream counts as left between two parts."""

    @classmethod
    async def open(cls, read: PeerRead, last: EventId) -> PeerReader | None:
        """None where the stream, or its gateway, is gone."""
        first = await _answer(read, last, None)
        return None if first is None else cls(read, last, first)

    async def read(self) -> bytes:
        """As `kept_streams.Reader.read`."""
        part = await _answer(self._read, self._last, self._number)
        if part is None:
            raise StreamLostError
        return part.body


async def _answer(read: PeerRead, last: EventId, number: int | None) -> Part | None:
    try:
        return await read(last, number)
    except (RayError, RayServeException) as error:
        logger.warning("gateway %s, which keeps a stream, did not answer: %s", last.owner, error)
        return None


class PeerRouter(LocalityMixin, RequestRouter):
    """A call that names its replica goes there; any other as it would by default, to the less busy
    of two. Where the named one is gone, any other says that it does not keep the stream."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        owner = None if pending_request is None else pending_request.kwargs.get(OWNER_KEY)
        named = [r for r in candidate_replicas if r.replica_id.unique_id == owner]
        if named:
            return [named]
        near = self.apply_locality_routing(pending_request=pending_request)
        replicas = [self.curr_replicas[replica_id] for replica_id in near]
        return [random.sample(replicas, min(CANDIDATES, len(replicas)))]


def peer_read(gateways: Callable[[], DeploymentHandle]) -> PeerRead:
    """Over Serve's handle of all gateways, whose replicas have `read_stream`."""

    async def read(last: EventId, number: int | None) -> Part | None:
        call = gateways().read_stream
        return await call.remote(last=last, number=number, **{OWNER_KEY: last.owner})

    return read
