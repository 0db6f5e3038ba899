"""Following an engine's cache events over the socket that vLLM publishes them on."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import zmq
from vllm.config.kv_events import KVEventsConfig
from vllm.distributed.kv_events import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVEventBatch,
    ZmqEventPublisher,
)

from cluster.routing.block_hash import block_hashes
from serve_app.kv_events import KvEvents, publish_events

BLOCK_TOKENS = 2
DEADLINE_S = 10.0


def batch(*events: object) -> KVEventBatch:
    return KVEventBatch(ts=0.0, events=list(events))


def stored(
    *hashes: int, parent: int | None = None, medium: str = "GPU", **more: Any
) -> BlockStored:
    """Block `h` has the tokens (h, h)."""
    fields = {
        "block_hashes": list(hashes),
        "parent_block_hash": parent,
        "token_ids": [h for h in hashes for _ in range(BLOCK_TOKENS)],
        "block_size": BLOCK_TOKENS,
        "lora_id": None,
        "medium": medium,
        "lora_name": None,
        "group_idx": 0,
    }
    return BlockStored(**{**fields, **more})


def removed(*hashes: int, medium: str = "GPU") -> BlockRemoved:
    return BlockRemoved(block_hashes=list(hashes), medium=medium, group_idx=0)


def names(*hashes: int) -> list[int]:
    """Of a prompt with these blocks."""
    return block_hashes([h for h in hashes for _ in range(BLOCK_TOKENS)], BLOCK_TOKENS)


def followed(test: Callable[[ZmqEventPublisher, KvEvents], Coroutine[Any, Any, None]]) -> None:
    """Run a test between vLLM's publisher and a follower that have found each other."""

    async def run() -> None:
        endpoint = f"ipc://@test-{uuid.uuid4().hex}"
        events = KvEvents.of(KVEventsConfig(enable_kv_cache_events=True, endpoint=endpoint))
        events.follow(BLOCK_TOKENS)
        publisher = ZmqEventPublisher(0, endpoint)
        try:
            while not events._socket.poll(20):  # what is published before that is lost
                publisher.publish(batch())
            async with asyncio.timeout(DEADLINE_S):
                publisher.publish(batch(stored(1)))
                while (await next_change(events)).stored != tuple(names(1)):
                    pass  # that what was lost before has cleared all there was
                await test(publisher, events)
        finally:
            events.close()
            publisher.shutdown()

    asyncio.run(run())


async def next_change(events: KvEvents):
    """The next batch that changed something."""
    while (change := events.changes()) is None:
        await asyncio.to_thread(events._socket.poll)
    return change


def test_what_vllm_publishes_arrives():
    async def test(publisher, events):
        publisher.publish(batch(stored(2, 3, parent=1)))
        assert (await next_change(events)).stored == tuple(names(1, 2, 3)[1:])
        publisher.publish(batch(removed(3)))
        change = await next_change(events)
        assert (change.stored, change.removed) == ((), (names(1, 2, 3)[2],))
        assert set(events.snapshot().blocks) == set(names(1, 2))
        assert events.cached_blocks(names(1, 2, 3)) == 2

    followed(test)


def test_a_cleared_cache_holds_what_was_stored_since():
    async def test(publisher, events):
        publisher.publish(batch(AllBlocksCleared(), stored(5)))
        change = await next_change(events)
        assert (change.cleared, change.stored) == (True, tuple(names(5)))
        assert set(events.snapshot().blocks) == set(names(5))

    followed(test)


def test_where_a_number_is_missing_nothing_is_said_to_be_there(caplog):
    async def test(publisher, events):
        caplog.clear()
        missing = next(publisher._seq_gen)
        publisher.publish(batch(stored(2, parent=1)))
        change = await next_change(events)
        assert (change.cleared, change.stored) == (True, ())
        assert events.snapshot().blocks == ()
        (warning,) = caplog.messages
        assert f"KV events: {missing} to {missing} are missing" in warning
        publisher.publish(batch(stored(1, 2)))
        assert set((await next_change(events)).stored) == set(names(1, 2))
        assert len(caplog.messages) == 1

    with caplog.at_level(logging.WARNING, "tokenfleet.engine"):
        followed(test)


@pytest.mark.parametrize(
    "unreadable",
    [
        pytest.param({"events": 5}, id="another shape"),
        pytest.param(batch(stored(1), stored(2, extra_keys=[(1.5,)])), id="an unknown extra key"),
    ],
)
def test_what_cannot_be_read_is_as_good_as_missing(unreadable, caplog):
    async def test(publisher, events):
        events._apply(events._next, msgspec.msgpack.encode(unreadable))
        assert events.changes().cleared
        assert events.snapshot().blocks == ()
        assert "cannot be read" in caplog.text
        number = next(publisher._seq_gen)
        assert number == events._next - 1
        publisher.publish(batch(stored(7)))
        assert set((await next_change(events)).stored) == set(names(7))

    with caplog.at_level(logging.WARNING, "tokenfleet.engine"):
        followed(test)


def test_blocks_of_another_size_are_left_out():
    async def test(publisher, events):
        publisher.publish(batch(stored(2, token_ids=[2, 2, 2], block_size=3), stored(4)))
        assert (await next_change(events)).stored == tuple(names(4))

    followed(test)


def test_a_block_in_two_tiers_is_gone_with_the_second():
    async def test(publisher, events):
        publisher.publish(batch(stored(1, medium="CPU"), removed(1), stored(4)))
        assert set((await next_change(events)).removed) == set()
        assert events.cached_blocks(names(1)) == 1
        publisher.publish(batch(removed(1, medium="CPU")))
        assert (await next_change(events)).removed == tuple(names(1))

    followed(test)


class Waiting:
    """A socket on which these messages wait, and no more come."""

    def __init__(self, *batches: KVEventBatch) -> None:
        self._messages = [
            [b"", number.to_bytes(8, "big"), msgspec.msgpack.encode(each)]
            for number, each in enumerate(batches)
        ]

    def recv_multipart(self, flags: int) -> list[bytes]:
        assert flags == zmq.NOBLOCK
        if not self._messages:
            raise zmq.Again
        return self._messages.pop(0)


def test_batches_that_wait_make_one_change(monkeypatch):
    events = KvEvents("ipc://@nobody-publishes-here-either")
    events.follow(BLOCK_TOKENS)
    events.close()
    waiting = Waiting(batch(stored(1)), batch(stored(2, parent=1)), batch(removed(2)))
    monkeypatch.setattr(events, "_socket", waiting)
    change = events.changes()
    assert (change.sequence, change.stored) == (1, tuple(names(1)))
    assert change.removed == (names(1, 2)[1],)
    assert events.changes() is None
    assert events.snapshot().sequence == 1


# What is published, and whether it can be followed


def config(events: KVEventsConfig | None = None, *, caching: bool = True) -> SimpleNamespace:
    """The part of a VllmConfig that is read."""
    cache = SimpleNamespace(enable_prefix_caching=caching)
    return SimpleNamespace(kv_events_config=events, cache_config=cache)


def test_every_engine_publishes_at_a_place_of_its_own():
    one, other = config(), config()
    publish_events(one)
    publish_events(other)
    assert one.kv_events_config.enable_kv_cache_events
    assert one.kv_events_config.publisher == "zmq"
    assert one.kv_events_config.endpoint != other.kv_events_config.endpoint
    assert ZmqEventPublisher._is_bind_endpoint(one.kv_events_config.endpoint)


def test_what_the_user_says_of_events_stands():
    users = KVEventsConfig()
    asked = config(users)
    publish_events(asked)
    assert asked.kv_events_config is users
    assert not users.enable_kv_cache_events


def test_without_a_prefix_cache_there_is_nothing_to_publish():
    asked = config(caching=False)
    publish_events(asked)
    assert asked.kv_events_config is None


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(None, id="no events"),
        pytest.param(KVEventsConfig(), id="disabled"),
        pytest.param(KVEventsConfig(enable_kv_cache_events=True, publisher="null"), id="to nobody"),
    ],
)
def test_what_is_not_published_is_not_followed(events, caplog):
    assert KvEvents.of(events) is None
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("endpoint", "followed_at"),
    [
        ("tcp://*:5557", "tcp://127.0.0.1:5557"),
        ("tcp://[::]:5557", "tcp://[::1]:5557"),
        ("tcp://[::1]:5557", "tcp://[::1]:5557"),
        ("ipc:///tmp/events", "ipc:///tmp/events"),
        ("tcp://*:0", None),
        ("tcp://collector:5557", None),
        ("inproc://events", None),
    ],
)
def test_where_the_user_s_events_are_followed(endpoint, followed_at, monkeypatch, caplog):
    """Where vLLM binds to what a subscriber can know; else the log says so."""
    connected = []
    monkeypatch.setattr(KvEvents, "__init__", lambda self, *to: connected.append(to))
    users = KVEventsConfig(enable_kv_cache_events=True, endpoint=endpoint, topic="kv")
    events = KvEvents.of(users)
    if followed_at is None:
        assert events is None
        assert f"kv_events_config.endpoint: {endpoint}" in caplog.text
    else:
        assert connected == [(followed_at, "kv")]
        assert ZmqEventPublisher._is_bind_endpoint(endpoint)
