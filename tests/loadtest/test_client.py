"""The client: against bytes cut anywhere, and over real sockets to a fake server."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.client import Connection, Endpoint, Stream, render_post
from loadtest.metrics import RequestSample
from loadtest.reply import RawReply, sample_of
from tests.loadtest.fake_server import (
    DONE,
    END,
    HEAD,
    KEEP_ALIVE,
    FakeServer,
    chunk,
    delta,
    plain,
    response,
    saying,
    serving,
    usage,
)

EVENTS = (delta(role="assistant", content=""), delta(content="你好 ok"), KEEP_ALIVE)
REPLY = response(*EVENTS, delta(content="b"), usage(3) + DONE)
NOWHERE = Endpoint("127.0.0.1", 1)


class FakeTransport(asyncio.Transport):
    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        pass


def fed(parts: Sequence[bytes]) -> RawReply:
    """What a connection makes of reads `parts`, the i-th (from 1) at second i."""

    async def exchange() -> RawReply:
        ticks = iter(range(len(parts) + 1))
        connection = Connection(clock=lambda: float(next(ticks)))
        connection.connection_made(FakeTransport())
        reply = asyncio.ensure_future(connection.exchange(b"POST", timeout_s=60))
        await asyncio.wait({reply}, timeout=0)  # lets it send
        for part in parts:
            connection.data_received(part)
        connection.connection_lost(None)
        return await reply

    return asyncio.run(exchange())


def ask(endpoint: Endpoint, requests: int = 1, timeout_s: float = 10) -> list[RequestSample]:
    """`requests` one after the other over one stream."""

    async def send() -> list[RawReply]:
        stream = Stream(endpoint)
        request = render_post(endpoint, "/v1/chat/completions", {"prompt": "你好"})
        replies = [await stream.send(request, timeout_s) for _ in range(requests)]
        stream.close()
        return replies

    return [sample_of(reply) for reply in asyncio.run(send())]


def test_each_read_is_stamped() -> None:
    sample = sample_of(fed(REPLY))  # reads: 1 head, 2 role, 3 content, 4 comment, 5 content, 6, 7
    assert (sample.t0_s, sample.t1_s, sample.tn_s) == (0, 3, 5)
    assert (sample.output_tokens, sample.error) == (3, None)


@given(st.data())
def test_a_reply_does_not_depend_on_how_tcp_cuts_it(data: st.DataObject) -> None:
    text = b"".join(REPLY)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=12)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, cut = sample_of(fed([text])), sample_of(fed(parts))
    assert cut.error is None
    assert (cut.output_tokens, cut.text_crc32) == (whole.output_tokens, whole.text_crc32)
    assert len(cut.itl_us) == len(whole.itl_us) == 1
    # A chunk is stamped by the read that completed its event.
    end = text.index(chunk(EVENTS[1])) + len(chunk(EVENTS[1])) - len(b"\r\n")
    assert cut.t1_s == 1 + sum(c < end for c in cuts)


def test_requests_share_a_connection() -> None:
    server = FakeServer(saying(*REPLY))
    with serving(server) as endpoint:
        samples = ask(endpoint, requests=3)
    assert [s.error for s in samples] == [None] * 3
    assert [s.output_tokens for s in samples] == [3] * 3
    assert server.connections == 1
    assert server.requests == [{"prompt": "你好"}] * 3


def test_many_streams_at_once() -> None:
    async def all_at_once(endpoint: Endpoint) -> list[RawReply]:
        streams = [Stream(endpoint) for _ in range(32)]
        request = render_post(endpoint, "/", {})
        replies = await asyncio.gather(*(stream.send(request, 10) for stream in streams))
        for stream in streams:
            stream.close()
        return replies

    with serving(FakeServer(saying(*REPLY))) as endpoint:
        samples = [sample_of(reply) for reply in asyncio.run(all_at_once(endpoint))]
    assert {s.error for s in samples} == {None}


@pytest.mark.parametrize(
    "reply", [REPLY, [HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), *REPLY[1:]]]
)
def test_a_server_that_closes_is_connected_to_again(reply: list[bytes]) -> None:
    async def script(_: dict[str, Any]) -> AsyncIterator[bytes]:
        for part in reply:
            yield part

    server = FakeServer(script, closes=True)
    with serving(server) as endpoint:
        first = ask(endpoint)
        second = ask(endpoint)
    assert [s.error for s in first + second] == [None, None]
    assert server.connections == 2


def test_a_stream_cut_in_the_middle_has_failed() -> None:
    server = FakeServer(saying(HEAD, chunk(delta(content="a"))), closes=True)
    with serving(server) as endpoint:
        (sample,) = ask(endpoint)
    assert sample.error == "disconnected: end of stream"
    assert sample.t1_s is not None


def test_a_request_after_a_failed_one_gets_a_new_connection() -> None:
    replies = iter([[HEAD, chunk(delta(content="a"))], REPLY])

    async def script(_: dict[str, Any]) -> AsyncIterator[bytes]:
        for part in next(replies):
            yield part

    with serving(FakeServer(script, closes=True)) as endpoint:
        cut, whole = ask(endpoint, requests=2)
    assert cut.error is not None
    assert whole.error is None


def test_a_server_that_says_nothing_times_out() -> None:
    async def silent(_: dict[str, Any]) -> AsyncIterator[bytes]:
        yield HEAD
        await asyncio.Event().wait()

    with serving(FakeServer(silent)) as endpoint:
        (sample,) = ask(endpoint, timeout_s=0.05)
    assert sample.error == "timeout after 0.05 s"


def test_an_error_status_says_its_message() -> None:
    body = json.dumps({"error": {"message": "no engine", "type": "x"}}).encode()
    with serving(FakeServer(saying(plain("503 Service Unavailable", body)))) as endpoint:
        (sample,) = ask(endpoint)
    assert sample.error == "http 503: no engine"


def test_bytes_that_are_no_http_fail_the_request() -> None:
    assert str(sample_of(fed([b"SSH-2.0-OpenSSH\r\n"])).error).startswith("bad HTTP")


def test_nobody_listening_is_a_failed_request() -> None:
    (sample,) = ask(NOWHERE)
    assert str(sample.error).startswith("connect: ")


def test_bytes_after_the_end_do_not_hurt_the_reply() -> None:
    assert sample_of(fed([*REPLY, END])).error is None


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://a:81", Endpoint("a", 81)),
        ("http://a", Endpoint("a", 80)),
        ("http://a:1/", Endpoint("a", 1)),
    ],
)
def test_urls(url: str, endpoint: Endpoint) -> None:
    assert Endpoint.of(url) == endpoint


@pytest.mark.parametrize("url", ["https://a", "a:80", "http://a/v1", "http://"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not http://host:port"):
        Endpoint.of(url)
