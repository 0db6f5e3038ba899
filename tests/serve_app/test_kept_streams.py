"""How long streams are kept, how much of them, and that the app waits for a slow reader."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from serve_app.event_log import EVENT_OVERHEAD_BYTES
from serve_app.kept_streams import READ_BYTES, KeptStream, KeptStreams, Reader, StreamLostError
from tests.waiting import DEADLINE_S, eventually

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"x")]}
SOON_S = 0.01
KB = b"x" * (1000 - EVENT_OVERHEAD_BYTES)
"""An event that takes 1,000 bytes."""


class Kept:
    """Streams under a limit of so many events; `abandoned` are the names of the dropped."""

    def __init__(self, events: int = 1000, window_s: float = DEADLINE_S) -> None:
        self.streams = KeptStreams("here", events * 1000, window_s)
        self.abandoned: list[str] = []

    def open(self, name: str = "a") -> KeptStream:
        return self.streams.open(START, lambda: self.abandoned.append(name))

    def keeps(self, stream: KeptStream) -> bool:
        return self.streams.find(stream.token) is stream


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


def reader_of(stream: KeptStream, position: int = 0) -> Reader:
    reader = stream.claim(position)
    assert reader is not None
    return reader


async def ended(stream: KeptStream, events: int = 1) -> KeptStream:
    await stream.append([KB] * events)
    stream.end()
    return stream


def test_a_reader_gets_every_event_behind_its_id_and_then_the_end():
    async def read() -> None:
        stream = Kept().open()
        await stream.append([b"one", b"two"])
        with reader_of(stream) as reader:
            name = stream.name.encode()
            assert await reader.read() == b"id: %b.0\noneid: %b.1\ntwo" % (name, name)
            more = asyncio.ensure_future(reader.read())
            await stream.append([b"three"])
            assert await more == b"id: %b.2\nthree" % name
            end = asyncio.ensure_future(reader.read())
            stream.end()
            assert await end == await reader.read() == b""

    run(read())


def test_a_stream_says_its_name_and_names_are_secrets():
    async def read() -> None:
        one, two = Kept().open(), Kept().open()
        assert one.start["headers"] == [
            *START["headers"],
            (b"x-tokenfleet-stream", one.name.encode()),
        ]
        assert one.name.startswith("here.")
        assert len(one.token) == len(two.token) == 22  # 128 bits
        assert one.token != two.token

    run(read())


def test_the_app_waits_for_its_reader_as_on_a_bare_connection():
    async def read() -> None:
        stream = Kept().open()
        with reader_of(stream) as reader:
            behind = READ_BYTES // 1000
            await stream.append([KB] * behind)
            waits = asyncio.ensure_future(stream.append([KB]))
            await asyncio.sleep(0)
            assert not waits.done()
            await reader.read()
            await waits

    run(read())


def test_an_app_does_not_wait_for_a_reader_that_left():
    async def leave() -> None:
        stream = Kept().open()
        with reader_of(stream):
            waits = asyncio.ensure_future(stream.append([KB] * 100))
            await asyncio.sleep(0)
            assert not waits.done()
        await waits

    run(leave())


def test_a_second_reader_takes_over():
    async def take_over() -> None:
        stream = Kept().open()
        with reader_of(stream) as first:
            waits = asyncio.ensure_future(first.read())
            await asyncio.sleep(0)
            with reader_of(stream) as second:
                with pytest.raises(StreamLostError):
                    await waits
                assert first.lost.done()
                await stream.append([b"one"])
                assert b"one" in await second.read()

    run(take_over())


@pytest.mark.parametrize("position", [3, 4])
def test_an_event_that_was_never_there_cannot_be_read_from(position):
    async def claim() -> None:
        stream = Kept().open()
        await stream.append([b"one", b"two"])
        assert stream.claim(position) is None
        assert stream.claim(2) is not None

    run(claim())


def test_a_stream_that_nobody_reads_is_dropped_after_the_window():
    async def wait() -> None:
        kept = Kept(window_s=SOON_S)
        stream = kept.open()
        with reader_of(stream):
            pass
        await eventually(lambda: not kept.keeps(stream))
        assert kept.abandoned == ["a"]
        assert stream.claim(0) is None
        await stream.append([KB])  # what the app still sends goes nowhere
        assert stream.log.size_bytes == 0

    run(wait())


def test_the_window_does_not_run_while_somebody_reads():
    async def wait() -> None:
        kept = Kept(window_s=SOON_S)
        read, left = kept.open("read"), kept.open("left")
        with reader_of(read) as reader:
            await eventually(lambda: not kept.keeps(left))
            await read.append([b"one"])
            assert b"one" in await reader.read()
        await eventually(lambda: not kept.keeps(read))
        assert kept.abandoned == ["left", "read"]

    run(wait())


def test_a_reader_that_was_replaced_leaves_nothing_when_it_goes():
    async def replace() -> None:
        kept = Kept(window_s=SOON_S)
        stream, left = kept.open("read"), kept.open("left")
        with reader_of(stream):
            second = reader_of(stream)
            second.__enter__()
        await eventually(lambda: not kept.keeps(left))
        await asyncio.sleep(2 * SOON_S)  # nothing is to happen
        assert kept.keeps(stream)
        second.__exit__(None, None, None)
        await eventually(lambda: not kept.keeps(stream))

    run(replace())


def test_the_window_begins_again_at_the_end():
    async def wait() -> None:
        loop = asyncio.get_running_loop()
        kept = Kept(window_s=0.2)
        stream = kept.open()
        await asyncio.sleep(0.1)
        await ended(stream)
        ended_at_s = loop.time()
        await eventually(lambda: not kept.keeps(stream))
        assert loop.time() - ended_at_s >= 0.2

    run(wait())


def test_over_the_limit_the_first_stream_to_end_goes_first():
    async def fill() -> None:
        kept = Kept(events=4)
        second, first, runs = kept.open("second"), kept.open("first"), kept.open("runs")
        await ended(first)
        await ended(second)
        await runs.append([KB, KB])
        assert kept.abandoned == []
        await runs.append([KB])
        assert kept.abandoned == ["first"]
        await runs.append([KB])
        assert kept.abandoned == ["first", "second"]

    run(fill())


def test_a_stream_that_ended_is_not_taken_from_its_reader():
    async def fill() -> None:
        kept = Kept(events=4)
        read, other = await ended(kept.open("read"), 3), kept.open("other")
        with reader_of(read) as reader:
            await other.append([KB] * 3)
            assert kept.abandoned == ["other"]
            assert len(await reader.read()) > 3 * len(KB)

    run(fill())


def test_over_the_limit_the_largest_forgets_the_older_half_of_what_was_read():
    async def fill() -> None:
        kept = Kept(events=10)
        large, small = kept.open("large"), kept.open("small")
        with reader_of(large) as reader:
            await large.append([KB] * 8)
            await reader.read()
            with reader_of(small):
                await small.append([KB] * 3)
        assert kept.abandoned == []
        assert large.claim(3) is None
        assert large.claim(4) is not None

    run(fill())


def test_the_largest_that_nobody_reads_is_dropped_where_it_has_nothing_to_forget():
    async def fill() -> None:
        kept = Kept(events=4)
        large, small = kept.open("large"), kept.open("small")
        await large.append([KB] * 3)
        await small.append([KB] * 2)
        assert kept.abandoned == ["large"]
        assert kept.keeps(small)

    run(fill())


def test_slow_readers_grow_nothing_over_the_limit_but_one_message_each():
    async def fill() -> None:
        kept = Kept(events=10)
        streams = [kept.open() for _ in range(20)]
        readers = [reader_of(stream) for stream in streams]
        for reader in readers:
            reader.__enter__()
        apps = [asyncio.ensure_future(_endless(stream)) for stream in streams]
        for _ in range(20):
            await asyncio.sleep(0)
        sizes = [stream.log.size_bytes for stream in streams]
        assert sum(sizes) <= 10_000 + 20 * 1000
        assert kept.abandoned == []
        assert [b"x" in await reader.read() for reader in readers] == [True] * 20
        kept.streams.close()
        for app in apps:
            app.cancel()

    run(fill())


async def _endless(stream: KeptStream) -> None:
    while True:
        await stream.append([KB])
        await asyncio.sleep(0)


def test_closing_drops_all():
    async def close() -> None:
        kept = Kept()
        kept.open("a")
        await ended(kept.open("b"))
        kept.streams.close()
        assert sorted(kept.abandoned) == ["a", "b"]

    run(close())
