"""What an engine's KV cache holds, as its host learns it from vLLM's own cache events.

The EngineCore publishes each step's events on a ZMQ PUB socket of this machine; the host follows it
and names the blocks as gateways do (`cluster.routing.kv_stream`). Where an event goes missing what
the cache holds is unknown: then nothing is said to be there until it is stored again.

What the user's own `kv_events_config` publishes is followed too; where it says that nothing is
published, engines are chosen by load alone.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable

import msgspec
import zmq
import zmq.asyncio
from vllm.config import VllmConfig
from vllm.config.kv_events import KVEventsConfig
from vllm.distributed.kv_events import AllBlocksCleared, BlockRemoved, BlockStored, KVEventBatch

from cluster.routing.kv_stream import KvChanges, KvPublisher, KvSnapshot
from cluster.types import BlockHash

logger = logging.getLogger("tokenfleet.engine")


def publish_events(config: VllmConfig) -> None:
    """Have the EngineCore of `config` publish its cache's events, unless the spec says how."""
    if config.kv_events_config is None and config.cache_config.enable_prefix_caching:
        config.kv_events_config = KVEventsConfig(
            enable_kv_cache_events=True,
            publisher="zmq",
            # Abstract: no file is left, and no port is taken.
            endpoint=f"ipc://@tokenfleet-{os.getpid()}-{uuid.uuid4().hex}-kv",
        )


class KvEvents:
    """Make it before the core starts, so that no event is missed; `follow` on a running loop."""

    def __init__(self, events: KVEventsConfig | None, block_tokens: int) -> None:
        self._blocks = KvPublisher(block_tokens=block_tokens)
        self._next = 0  # vLLM's number of the next batch
        self._decoder = msgspec.msgpack.Decoder(KVEventBatch)
        self._socket: zmq.asyncio.Socket | None = None
        if events is not None and events.publisher == "zmq" and events.enable_kv_cache_events:
            self._socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
            self._socket.setsockopt(zmq.RCVHWM, 0)
            self._socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms; the core binds when it has started
            self._socket.setsockopt_string(zmq.SUBSCRIBE, events.topic)
            self._socket.connect(_to_connect_to(events.endpoint))

    @property
    def is_followed(self) -> bool:
        """Whether the engine publishes events at all."""
        return self._socket is not None

    def cached_blocks(self, names: Iterable[BlockHash]) -> int:
        """How many of a prompt's blocks, from the first on, the cache holds."""
        return self._blocks.leading(names)

    def snapshot(self) -> KvSnapshot:
        """For a switch that joins or asks."""
        return self._blocks.snapshot()

    async def changes(self) -> KvChanges | None:
        """The next batch for all switches, once there is one; None where it changed nothing."""
        assert self._socket is not None
        _topic, number, payload = await self._socket.recv_multipart()
        self._apply(int.from_bytes(number, "big"), payload)
        while await self._socket.poll(0):  # what came meanwhile makes one batch
            _topic, number, payload = await self._socket.recv_multipart()
            self._apply(int.from_bytes(number, "big"), payload)
        return self._blocks.take()

    def _apply(self, number: int, payload: bytes) -> None:
        if number != self._next:
            logger.warning(
                "KV events %d to %d are missing: what the cache holds is unknown until it is "
                "stored again", self._next, number - 1,
            )  # fmt: skip
            self._blocks.cleared()
        self._next = number + 1
        for event in self._decoder.decode(payload).events:
            self._apply_event(event)

    def _apply_event(self, event: BlockStored | BlockRemoved | AllBlocksCleared) -> None:
        if isinstance(event, AllBlocksCleared):
            self._blocks.cleared()
            return
        where = (event.medium, event.group_idx)
        if isinstance(event, BlockRemoved):
            self._blocks.removed(event.block_hashes, where)
            return
        self._blocks.stored(
            event.block_hashes,
            event.parent_block_hash,
            event.token_ids,
            event.block_size,
            event.extra_keys,
            where,
        )

    def close(self) -> None:
        """Follow no more."""
        if self._socket is not None:
            self._socket.close(linger=0)


def _to_connect_to(endpoint: str) -> str:
    """Where a subscriber on this machine finds what binds to `endpoint`."""
    return endpoint.replace("tcp://*", "tcp://127.0.0.1").replace("0.0.0.0", "127.0.0.1")
