"""A tiny OpenAI-shaped server on a thread of its own, and the bytes it says.

`script` decides what a POST gets: it is an async generator of raw bytes, each written and flushed
by itself; the connection closes after it where `closes` says so.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from loadtest.client import Endpoint

Script = Callable[[dict[str, Any]], AsyncIterator[bytes]]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields}]})


def usage(output_tokens: int, prompt_tokens: int = 7, **more: Any) -> bytes:
    counts = {"completion_tokens": output_tokens, "prompt_tokens": prompt_tokens}
    return event({"choices": [], "usage": counts | more})


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def response(*events: bytes) -> list[bytes]:
    """A whole chunked response, one HTTP chunk per argument."""
    return [HEAD, *map(chunk, events), END]


def plain(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def saying(*parts: bytes) -> Script:
    """A script that says the same to every request."""

    async def script(_: dict[str, Any]) -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return script


@dataclass
class FakeServer:
    script: Script
    closes: bool = False  # the connection, after each reply
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._reply(reader, writer) and not self.closes:
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if head.startswith("get /v1/models"):
            writer.write(plain("200 OK", b'{"data": [{"id": "fake"}]}'))
            return True
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.requests.append(json.loads(await reader.readexactly(length)))
        async for part in self.script(self.requests[-1]):
            writer.write(part)
            await writer.drain()
        return True


@contextmanager
def serving(server: FakeServer) -> Iterator[Endpoint]:
    """`server` at an endpoint of this machine."""
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(server.handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Endpoint(*listening.sockets[0].getsockname()[:2])
    finally:
        asyncio.run_coroutine_threadsafe(_stop(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(listening: asyncio.Server) -> None:
    listening.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
