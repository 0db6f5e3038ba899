"""A server with known delays, in a process of its own: `python -m tests.loadtest.timed_server`.

It speaks as `fake_server` does, and writes each chunk at its own instant after the request. How is
in the request's field `fake`: see `Manner`. `GET /log` gives what was received and written, with
instants on the monotonic clock, which all processes of a machine share. The port is the first line
on standard output.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from subprocess import PIPE, Popen
from sys import executable
from time import monotonic
from typing import Any, Literal

from tests.loadtest.fake_server import DONE, END, HEAD, chunk, delta, event, plain, usage

BACKLOG = 4096
METRICS = b"""# HELP vllm:num_requests_running Number of requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="fake"} 3.0
vllm:e2e_request_latency_seconds_bucket{le="0.3"} 1.0
python_info{version="3"} 1.0
"""


@dataclass(frozen=True)
class Manner:
    """How a request is answered. `how`: `hang` accepts it and never answers, `cut` closes the
    connection after half the chunks, `event` writes an error event in their place."""

    first_s: float = 0.05
    gap_s: float = 0.005
    chunks: int = 8
    how: Literal["well", "hang", "cut", "event", "503"] = "well"


@dataclass
class Entry:
    """One request. `written_s` has the instant of each content chunk."""

    body: dict[str, Any]
    path: str
    connection: int
    received_s: float
    written_s: list[float] = field(default_factory=list)
    answer: str = ""


class TimedServer:
    def __init__(self) -> None:
        self.log: list[Entry] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        try:
            while await self._reply(reader, writer, connection):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()

    async def _reply(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        received_s = monotonic()
        method, path, _ = head.split(" ", 2)
        if method == "GET":
            writer.write(self._got(path))
            return True
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        entry = Entry(body, path, connection, received_s)
        self.log.append(entry)
        return await answer(entry, writer, Manner(**body.get("fake", {})))

    def _got(self, path: str) -> bytes:
        match path:
            case "/log":
                return plain("200 OK", json.dumps([asdict(entry) for entry in self.log]).encode())
            case "/v1/models":
                return plain("200 OK", b'{"data": [{"id": "fake"}]}')
            case "/metrics":
                return plain("200 OK", METRICS)
        return plain("404 Not Found", b"")


async def answer(entry: Entry, writer: asyncio.StreamWriter, manner: Manner) -> bool:
    """Whether the connection stays open."""
    if manner.how == "503":
        writer.write(plain("503 Service Unavailable", b'{"error": {"message": "no engine"}}'))
        return True
    if manner.how == "hang":
        await asyncio.Event().wait()
    writer.write(HEAD + chunk(delta(role="assistant", content="")))
    for n in range(manner.chunks):
        await asyncio.sleep(entry.received_s + manner.first_s + n * manner.gap_s - monotonic())
        if manner.how != "well" and n >= manner.chunks // 2:
            break
        entry.answer += f"{entry.connection}.{n} "
        entry.written_s.append(monotonic())
        writer.write(chunk(_content(entry, f"{entry.connection}.{n} ")))
        await writer.drain()  # notices a client that left
    if manner.how == "cut":
        return False
    if manner.how == "event":
        writer.write(chunk(event({"error": {"message": "engine died"}})))
    else:
        writer.write(chunk(usage(manner.chunks)))
    writer.write(chunk(DONE) + END)
    return True


def _content(entry: Entry, text: str) -> bytes:
    if entry.path == "/v1/completions":
        return event({"choices": [{"index": 0, "text": text}]})
    return delta(content=text)


async def _serve() -> None:
    server = await asyncio.start_server(TimedServer().handle, "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def timed_server() -> Iterator[str]:
    """The URL of one that runs while the context lasts."""
    with Popen([executable, "-m", __name__], stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
