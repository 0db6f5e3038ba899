"""One cell of the benchmark: a fixed number of streams in a closed loop against one server.

Each stream sends its requests one after the other over its own connection. The warm-up goes over
the same connections and is left out, connecting too. CPU is read right before the first measured
request and right after the last reply; JSON is decoded after that.
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import uvloop

from loadtest.client import Endpoint, Stream
from loadtest.metrics import RequestSample
from loadtest.procstat import Process, Role, machine_cpu_s, read_meters, spent_s
from loadtest.reply import RawReply, sample_of


@dataclass(frozen=True, slots=True)
class Load:
    """Rendered requests: one warm-up per stream, then one sequence per stream."""

    warm_up: Sequence[bytes]
    requests: Sequence[Sequence[bytes]]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class CellResult:
    samples: list[RequestSample]  # stream by stream, each in the order sent
    window_s: float
    cpu_s: Mapping[Role, float]  # the server's roles, CLIENT and REST


class Window:
    """Time and CPU from construction to `close`."""

    def __init__(self, server: Sequence[Process]) -> None:
        self._server = server
        self._meters = read_meters(server)
        self._at_start = self._totals()

    def close(self) -> tuple[float, dict[Role, float]]:
        """The window's length and CPU seconds by role."""
        passed = zip(self._at_start, self._totals(), strict=True)
        window_s, client_s, machine_s = (after - before for before, after in passed)
        cpu_s = spent_s(self._meters, read_meters(self._server))
        rest_s = machine_s - client_s - sum(cpu_s.values())
        return window_s, cpu_s | {Role.CLIENT: client_s, Role.REST: rest_s}

    @staticmethod
    def _totals() -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), machine_cpu_s()


def run_cell(endpoint: Endpoint, load: Load, server: Sequence[Process]) -> CellResult:
    """`server`: the processes whose CPU is counted."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        replies, window_s, cpu_s = runner.run(_run(endpoint, load, server))
    return CellResult([sample_of(reply) for reply in replies], window_s, cpu_s)


async def _run(
    endpoint: Endpoint, load: Load, server: Sequence[Process]
) -> tuple[list[RawReply], float, dict[Role, float]]:
    streams = [Stream(endpoint) for _ in load.requests]
    await _drive(streams, [[request] for request in load.warm_up], load.timeout_s)
    with _no_garbage_collection():
        window = Window(server)
        replies = await _drive(streams, load.requests, load.timeout_s)
        window_s, cpu_s = window.close()
    for stream in streams:
        stream.close()
    return replies, window_s, cpu_s


async def _drive(
    streams: Sequence[Stream], requests: Sequence[Sequence[bytes]], timeout_s: float
) -> list[RawReply]:
    async def one(stream: Stream, mine: Sequence[bytes]) -> list[RawReply]:
        return [await stream.send(request, timeout_s) for request in mine]

    replies = await asyncio.gather(*map(one, streams, requests))
    return [reply for of_stream in replies for reply in of_stream]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection would stall every stamp behind it; a cell's replies bound the memory."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
