"""What an engine's KV cache holds, as its host learns it from vLLM's own cache events.

The EngineCore publishes each step's events on a ZMQ PUB socket of this machine; the host follows it
and names the blocks as gateways do (`cluster.routing.kv_stream`). Where an event goes missing what
the cache holds is unknown: then nothing is said to be there until it is stored again.

What the user's own `kv_events_config` publishes is followed too; where it publishes nothing, or to
where it cannot be followed, engines are chosen by load alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterable

import msgspec
import zmq
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
    """Make it before the core starts, so that no event is missed; `follow` once the core has said
    how large its blocks are. What has arrived is read when somebody asks: with every step some
    block is filled, and to wake up for each of them is dearer than all that is done with it."""

    def __init__(self, endpoint: str, topic: str = "") -> None:
        self._blocks = KvPublisher(block_tokens=1)
        self._next = 0  # vLLM's number of the next batch
        self._decoder = msgspec.msgpack.Decoder(KVEventBatch)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, "::" in endpoint)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms; the core binds when it has started
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self._socket.connect(endpoint)

    @classmethod
    def of(cls, events: KVEventsConfig | None) -> KvEvents | None:
        """None where the core publishes nothing that this process could follow."""
        if events is None or not events.enable_kv_cache_events or events.publisher != "zmq":
            return None
        endpoint = _to_connect_to(events.endpoint)
        if endpoint is None:
            logger.warning(
                "kv_events_config.endpoint: %s cannot be followed from another process of this "
                "machine, so engines are chosen without what they hold; let it be one that the "
                "engine binds, like tcp://*:5557", events.endpoint,
            )  # fmt: skip
            return None
        return cls(endpoint, events.topic)

    def follow(self, block_tokens: int) -> None:
        """From now on: blocks of so many tokens."""
        self._blocks = KvPublisher(block_tokens=block_tokens)

    def cached_blocks(self, names: Iterable[BlockHash]) -> int:
        """How many of a prompt's blocks, from the first on, the cache holds."""
        return self._blocks.leading(names)

    @property
    def held_blocks(self) -> int:
        """How many different blocks the cache holds, as far as it has been read."""
        return self._blocks.held_blocks

    def snapshot(self) -> KvSnapshot:
        """For a switch that joins or asks."""
        return self._blocks.snapshot()

    def changes(self) -> KvChanges | None:
        """What has changed since the last call, for all switches; None where nothing has."""
        with contextlib.suppress(zmq.Again):
            while True:
                _topic, number, payload = self._socket.recv_multipart(zmq.NOBLOCK)
                self._apply(int.from_bytes(number, "big"), payload)
        return self._blocks.take()

    def _apply(self, number: int, payload: bytes) -> None:
        if number != self._next:
            self._lose(f"{self._next} to {number - 1} are missing")
        self._next = number + 1
        try:
            for event in self._decoder.decode(payload).events:
                self._apply_event(event)
        except Exception as error:  # of another vLLM, or a connector's: requests matter more
            self._lose(f"{number} cannot be read ({error})")

    def _lose(self, what: str) -> None:
        logger.warning(
            "KV events: %s: what the cache holds is unknown until it is stored again", what
        )
        self._blocks.cleared()

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
        """Follow no more. Closing twice is fine."""
        self._socket.close()


def _to_connect_to(endpoint: str) -> str | None:
    """Where a subscriber on this machine finds what vLLM binds to `endpoint`; None where it binds
    to nothing (it connects to a collector then) or to what this process cannot know or reach."""
    if endpoint.startswith("ipc://"):
        return endpoint
    if endpoint.startswith("inproc://") or endpoint.endswith(":0"):
        return None
    if "*" in endpoint or "::" in endpoint:
        return endpoint.replace("*", "127.0.0.1").replace("[::]", "[::1]")
    return None
