"""What the load client costs itself: `python -m loadtest.bench.client_cost`.

A server in a process of its own writes chunks as vLLM does, at a steady pace on many streams at
once; here they are received by the streaming user and read as in a run. Printed is the CPU time of
this process a chunk, with and without making sense of the replies. A request's own cost, 1 to 2 ms
whatever its length, is in it by its share.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

SERVE = "--serve"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
COMMON = {"id": "chatcmpl-" + "0" * 32, "object": "chat.completion.chunk", "created": 1}
CHOICE = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}


def framed(*events: str) -> bytes:
    """Each event as one chunk of HTTP's chunked coding."""
    bodies = [f"data: {event}\n\n".encode() for event in events]
    return b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies)


CHUNK = framed(json.dumps(COMMON | {"model": "bench", "choices": [CHOICE]}))
USAGE = {"prompt_tokens": 8, "completion_tokens": 100, "total_tokens": 108}
LAST = framed(json.dumps(COMMON | {"choices": [], "usage": USAGE}), "[DONE]") + b"0\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Chunks at their pace, for as many requests as the connection brings."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
        except asyncio.IncompleteReadError:
            return
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        began_s = time.monotonic()
        writer.write(HEAD)
        for n in range(asked["chunks"]):
            await asyncio.sleep(began_s + n * asked["gap_s"] - time.monotonic())
            writer.write(CHUNK)
        writer.write(LAST)


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "loadtest.bench.client_cost", SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def measure(args: argparse.Namespace) -> None:
    """Imports Locust, which patches this process."""
    import gevent
    from locust.env import Environment

    from loadtest.run_records import RequestRecord
    from loadtest.runtime.connections import pool_of
    from loadtest.runtime.reading import SWITCH_INTERVAL_S, Asked, Reader
    from loadtest.streaming_user import StreamingUser

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    reader = Reader()
    record = partial(RequestRecord, session=0, turn=0, kind="bench")
    asked = Asked(record, time.monotonic(), None)

    def request(user: StreamingUser, reads: bool, chunks: int) -> None:
        body = json.dumps({"chunks": chunks, "gap_s": args.gap_ms / 1e3}).encode()
        reply = user.stream("/v1/chat/completions", body, 600)
        if reads:
            error = reader.read(reply, asked).record.sample.error
            assert error is None, error

    with server() as url:
        StreamingUser.host, StreamingUser.pool_manager = url, pool_of(args.streams)
        user = StreamingUser(Environment())

        def cpu_s(reads: bool, chunks: int) -> float:
            before_s = time.process_time()
            gevent.joinall(
                [gevent.spawn(request, user, reads, chunks) for _ in range(args.streams)],
                raise_error=True,
            )
            return time.process_time() - before_s

        cpu_s(True, args.chunks)  # opens the connections
        for reads in (False, True):
            _print(args, reads, partial(cpu_s, reads))


def _print(args: argparse.Namespace, reads: bool, cpu_s: Callable[[int], float]) -> None:
    rounds_us = sorted(
        cpu_s(args.chunks) / (args.streams * args.chunks) * 1e6 for _ in range(args.rounds)
    )
    what = "received and read" if reads else "received"
    median_us = rounds_us[len(rounds_us) // 2]
    print(f"{what}: {median_us:.1f} us a chunk, {rounds_us[0]:.1f} at best", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m loadtest.bench.client_cost")
    p.add_argument(SERVE, action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--streams", type=int, default=50)
    p.add_argument("--chunks", type=int, default=400)
    p.add_argument("--gap-ms", type=float, default=20.0)
    p.add_argument("--rounds", type=int, default=7, help="of requests on every stream")
    args = p.parse_args()
    if args.serve:
        asyncio.run(serve())
    else:
        measure(args)


if __name__ == "__main__":
    main()
