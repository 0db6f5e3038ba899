"""Clients that lose a resumable stream and come back, through the Shell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.kept_streams import KeptStreams
from serve_app.resumable import Resumable
from tests.serve_app.streaming_app import (
    EVENT_STREAM,
    RESUMABLE,
    Connection,
    StreamingModel,
    resume,
)
from tests.serve_app.stub_models import StubModel, no_peer, shell
from tests.waiting import DEADLINE_S, eventually

EVENTS = [b"data: %d\n\n" % number for number in range(5)]
NOBODY_S = 0.05


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


def kept_for(window_s: float) -> Resumable:
    return Resumable(KeptStreams("here", 1_000_000, window_s), no_peer)


async def finished(connection: Connection) -> Connection:
    await connection.task
    return connection


def test_every_event_has_an_id_and_is_else_as_it_was():
    async def read() -> None:
        model = StreamingModel(EVENTS)
        answer = await finished(Connection(shell(model), RESUMABLE))
        stream = answer.headers["x-tokenfleet-stream"]
        assert answer.status == 200
        assert answer.headers["content-type"] == EVENT_STREAM[1].decode()
        assert answer.complete
        assert answer.events == [(f"{stream}.{n}", event) for n, event in enumerate(EVENTS)]
        assert model.body == b'{"model": "one"}'

    run(read())


@pytest.mark.parametrize("headers", [{}, {"x-tokenfleet-resumable": "false"}])
def test_who_does_not_ask_gets_no_ids(headers):
    async def read() -> None:
        answer = await finished(Connection(shell(StreamingModel(EVENTS)), headers))
        assert answer.body == b"".join(EVENTS)
        assert "x-tokenfleet-stream" not in answer.headers

    run(read())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"content-type", b"application/json")], id="no stream"),
        pytest.param([EVENT_STREAM, (b"content-encoding", b"gzip")], id="compressed"),
        pytest.param([], id="of no type"),
    ],
)
def test_another_answer_is_passed_on_as_it_is(headers):
    async def read() -> None:
        model = StreamingModel([b"data: ", b"\n\n"], headers=headers)
        answer = await finished(Connection(shell(model), RESUMABLE))
        assert (answer.body, answer.complete) == (b"data: \n\n", True)
        assert "x-tokenfleet-stream" not in answer.headers

    run(read())


def test_a_client_that_leaves_another_answer_ends_it():
    async def leave() -> None:
        model = StreamingModel([b"{"], until_left=True, headers=[(b"content-type", b"text/json")])
        answer = Connection(shell(model), RESUMABLE, most=1)
        await answer.task
        await model.left.wait()

    run(leave())


def test_a_cancelled_request_for_another_answer_ends_it():
    async def cancel() -> None:
        model = StreamingModel([b"{"], until_left=True, headers=[(b"content-type", b"text/json")])
        answer = Connection(shell(model), RESUMABLE)
        await eventually(lambda: answer.body)
        answer.task.cancel()
        await model.left.wait()

    run(cancel())


def test_a_length_is_not_said_where_ids_change_it():
    async def read() -> None:
        model = StreamingModel(EVENTS, headers=[EVENT_STREAM, (b"content-length", b"45")])
        answer = await finished(Connection(shell(model), RESUMABLE))
        assert "content-length" not in answer.headers

    run(read())


def test_what_follows_the_last_event_is_not_held_back():
    async def read() -> None:
        answer = await finished(Connection(shell(StreamingModel([b"data: cut off"])), RESUMABLE))
        assert answer.body.endswith(b".0\ndata: cut off")

    run(read())


chunkings = st.lists(st.integers(1, 30), max_size=20)
events = st.lists(
    st.tuples(
        st.sampled_from([b"data: ", b"event: e\ndata: ", b": "]),
        st.integers(0, 999),
        st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    ).map(lambda parts: b"%b%d%b" % parts),
    max_size=12,
)
losses = st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.integers(0, 4)), max_size=6)


@settings(deadline=None)
@given(events, chunkings, losses)
def test_what_all_connections_bring_is_the_stream(events, sizes, losses):
    """Each event once and in order, however the app cuts its chunks, wherever connections are cut,
    and whether or not that is noticed."""
    run(_read_with_losses(events, sizes, losses))


async def _read_with_losses(
    events: list[bytes], sizes: list[int], losses: list[tuple[int, bool, int]]
) -> None:
    model = StreamingModel(_chunks(b"".join(events), sizes))
    app = shell(model)
    connections = []
    last, read = None, []
    for most, silent, pause in [*losses, (float("inf"), False, 0)]:
        client = {"most": most, "silent": silent}
        at = resume(app, last, **client) if last else Connection(app, RESUMABLE, **client)
        connections.append(at)
        lost = asyncio.ensure_future(at.lost.wait())
        await asyncio.wait({at.task, lost}, return_when=asyncio.FIRST_COMPLETED)
        lost.cancel()
        assert at.status == 200
        last = at.events[-1][0] if at.events else last or at.headers["x-tokenfleet-stream"]
        read += [event for _, event in at.events]
        if at.complete:
            break
        for _ in range(pause):
            await asyncio.sleep(0)
    assert read == events
    assert at.complete
    assert model.requests == 1
    await asyncio.gather(*(connection.task for connection in connections))


def _chunks(body: bytes, sizes: list[int]) -> list[bytes]:
    """The body in pieces of these sizes, and its rest."""
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    return [*pieces, body]


@pytest.mark.parametrize("cancelled", [False, True], ids=["it says so", "Serve cancels"])
def test_a_stream_goes_on_without_its_client_and_any_method_gets_the_rest(cancelled):
    async def lose() -> None:
        model = StreamingModel(EVENTS)
        app = shell(model)
        first = Connection(app, RESUMABLE, most=60, silent=cancelled)
        await first.lost.wait()
        if cancelled:
            first.task.cancel()
        await eventually(lambda: model.sent == len(EVENTS))
        last, _ = first.events[-1]
        rest = await finished(resume(app, last, method="GET"))
        assert rest.headers == first.headers
        assert [e for _, e in first.events + rest.events] == EVENTS
        again = await finished(resume(app, last))
        assert again.body == rest.body

    run(lose())


def test_a_client_that_does_not_come_back_has_its_request_aborted():
    async def lose() -> None:
        model = StreamingModel(EVENTS, until_left=True)
        app = shell(model, resumable=kept_for(NOBODY_S))
        first = Connection(app, RESUMABLE, most=60)
        await first.task
        assert not model.left.is_set()
        await model.left.wait()
        late = await finished(resume(app, first.events[-1][0]))
        assert late.status == 410
        assert model.requests == 1

    run(lose())


def test_a_client_that_is_back_in_time_keeps_its_request():
    async def come_back() -> None:
        model = StreamingModel(EVENTS, until_left=True)
        app = shell(model, resumable=kept_for(NOBODY_S))
        first = Connection(app, RESUMABLE, most=60)
        await first.task
        rest = resume(app, first.events[-1][0])
        await eventually(lambda: rest.events)
        await asyncio.sleep(2 * NOBODY_S)  # nothing is to happen
        assert not model.left.is_set()
        rest.lost.set()
        await model.left.wait()

    run(come_back())


@pytest.mark.parametrize(
    ("event_id", "status", "kind"),
    [
        ("17", 400, "BadRequestError"),
        ("", 400, "BadRequestError"),
        ("here.Zm9vYmFyYmF6cXV4MTIzNA.3", 410, "GoneError"),
        ("elsewhere.Zm9vYmFyYmF6cXV4MTIzNA.3", 410, "GoneError"),
    ],
)
def test_an_unknown_stream_is_no_new_request(event_id, status, kind):
    async def ask() -> None:
        model = StreamingModel(EVENTS)
        answer = await finished(resume(shell(model), event_id))
        assert answer.status == status
        assert f'"type":"{kind}","param":"Last-Event-ID","code":{status}'.encode() in answer.body
        assert model.requests == 0

    run(ask())


def test_an_event_that_never_was_cannot_be_resumed_after():
    async def ask() -> None:
        app = shell(StreamingModel(EVENTS))
        answer = await finished(Connection(app, RESUMABLE))
        stream = answer.headers["x-tokenfleet-stream"]
        after_end = await finished(resume(app, f"{stream}.4"))
        assert (after_end.status, after_end.body, after_end.complete) == (200, b"", True)
        assert (await finished(resume(app, f"{stream}.5"))).status == 410

    run(ask())


def test_an_app_that_fails_cuts_its_stream(caplog):
    async def fail() -> None:
        app = shell(StreamingModel(EVENTS, error=ValueError("from the app")))
        answer = await finished(Connection(app, RESUMABLE))
        assert not answer.complete
        stream = answer.headers["x-tokenfleet-stream"]
        assert (await finished(resume(app, stream))).status == 410

    with caplog.at_level(logging.ERROR, "tokenfleet.gateway"):
        run(fail())
    assert "from the app" in caplog.text


def test_an_app_that_fails_before_its_answer_fails_its_request():
    class Failing(StubModel):
        async def ready_app(self, *, for_engine=True):
            async def app(scope, receive, send):
                raise ValueError("from the app")

            return app

    async def fail() -> None:
        with pytest.raises(ValueError, match="from the app"):
            await Connection(shell(Failing("one")), RESUMABLE).task

    run(fail())


def test_closing_ends_what_runs():
    async def close() -> None:
        streams = kept_for(DEADLINE_S)
        model = StreamingModel(EVENTS, until_left=True)
        answer = Connection(shell(model, resumable=streams), RESUMABLE)
        await eventually(lambda: model.sent == len(EVENTS))
        streams.close()
        await model.left.wait()
        await answer.task
        assert not answer.complete

    run(close())
