"""A network path to an engine that can lose everything, in either direction, with both ends alive.

A TCP relay. What is lost is held back, and arrives when the path is mended, as TCP's own
retransmission would have it: late, whatever its receiver has done meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")

CHUNK_BYTES = 65536
DEADLINE_S = 5.0


class LossyPath:
    """Relays `endpoint` to `target`, both `tcp://host:port`, from a thread of its own."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname, parts.port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.endpoint = self._run(self._start())

    def cut(self, *, to_engine: bool, to_switch: bool) -> None:
        """From now on nothing gets through in these directions."""
        self._run(self._set(to_engine=to_engine, to_switch=to_switch))

    def mend(self) -> None:
        """What was held back goes on its way."""
        self._run(self._set(to_engine=False, to_switch=False))

    def close(self) -> None:
        """End every connection and the thread."""
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    async def _start(self) -> str:
        self._open = {"to_engine": asyncio.Event(), "to_switch": asyncio.Event()}
        await self._set(to_engine=False, to_switch=False)
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._relays: set[asyncio.Task[None]] = set()
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _set(self, **cut: bool) -> None:
        for direction, is_cut in cut.items():
            event = self._open[direction]
            event.clear() if is_cut else event.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            # A path that is cut lets no new connection through either.
            await self._open["to_engine"].wait()
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(
                self._pump(reader, target_writer, self._open["to_engine"]),
                self._pump(target_reader, writer, self._open["to_switch"]),
            )
        writer.close()
        self._relays.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                await is_open.wait()
                writer.write(data)
                await writer.drain()
            await is_open.wait()  # the end of a connection is a message too
        finally:
            writer.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._relays):
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
