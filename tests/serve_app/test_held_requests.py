"""Clients whose request waits for an engine: streams are kept alive, who leaves is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from serve_app import held_requests
from serve_app.errors import GatewayError, ModelFailedError, NoEngineError
from serve_app.held_requests import COMMENT, asks_for_stream
from tests.serve_app.asgi_call import AsgiCall
from tests.serve_app.streaming_app import EVENT_STREAM, RESUMABLE, StreamingModel, resume
from tests.serve_app.stub_models import StubModel, shell
from tests.waiting import DEADLINE_S, eventually

CHAT = "/v1/chat/completions"
EVENTS = [b"data: 1\n\n", b"data: [DONE]\n\n"]
STREAMED = {"model": "one", "stream": True}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, DEADLINE_S))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(held_requests, "PATIENCE_S", 0.01)
    monkeypatch.setattr(held_requests, "COMMENT_EVERY_S", 0.01)


class Held(StreamingModel):
    """Its engine comes with `wake`; until then `waiting` requests wait, or end in `refusal`."""

    def __init__(self, chunks=EVENTS, **more: Any) -> None:
        super().__init__(chunks, **more)
        self.switch.engines = 0
        self.awake = asyncio.Event()
        self.waiting = 0
        self.refusal: GatewayError | None = None

    def wake(self) -> None:
        self.awake.set()

    async def ready_app(self, *, for_engine: bool = True) -> ASGIApp:
        self.waiting += 1
        try:
            await self.awake.wait()
        finally:
            self.waiting -= 1
        if self.refusal is not None:
            raise self.refusal
        return await super().ready_app()


async def kept_alive(call: AsgiCall, comments: int = 3) -> None:
    await eventually(lambda: call.content.count(COMMENT) >= comments)
    assert call.status == 200
    assert call.headers["content-type"].startswith("text/event-stream")


def without_comments(call: AsgiCall) -> bytes:
    return call.content.replace(COMMENT, b"")


def test_a_stream_is_kept_alive_and_then_gets_the_app_s_events():
    async def scenario() -> None:
        model = Held()
        call = AsgiCall(shell(model), CHAT, STREAMED)
        await kept_alive(call)
        model.wake()
        await call.finish()
        assert without_comments(call) == b"".join(EVENTS)
        assert json.loads(model.body) == STREAMED

    run(scenario())


def test_an_engine_that_comes_at_once_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(held_requests, "PATIENCE_S", DEADLINE_S)

    async def scenario() -> None:
        model = Held(headers=[EVENT_STREAM, (b"x-vllm", b"1")])
        call = AsgiCall(shell(model), CHAT, STREAMED)
        await eventually(lambda: model.waiting)
        model.wake()
        await call.finish()
        assert (call.status, call.content) == (200, b"".join(EVENTS))
        assert call.headers["x-vllm"] == "1"

    run(scenario())


@pytest.mark.parametrize("keep", [True, False], ids=["kept alive", "not yet"])
def test_where_no_engine_comes_the_stream_says_so(keep, monkeypatch):
    if not keep:
        monkeypatch.setattr(held_requests, "PATIENCE_S", DEADLINE_S)

    async def scenario() -> None:
        model = Held()
        model.refusal = NoEngineError("none came", retry_after_s=42)
        call = AsgiCall(shell(model), CHAT, STREAMED)
        await (kept_alive(call) if keep else eventually(lambda: model.waiting))
        model.wake()
        await call.finish()
        if keep:
            assert call.status == 200
            expected = b"data: " + json.dumps(model.refusal.body()).encode() + b"\n\n"
            assert without_comments(call) == expected
        else:
            assert (call.status, call.headers["retry-after"]) == (503, "42")
            assert call.json == model.refusal.body()

    run(scenario())


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_of_the_app_becomes_an_event(status):
    async def scenario() -> None:
        error = b'{"error": {"message": "no",\n"code": 5}}'

        async def refuse(scope, receive, send) -> None:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"38")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": error[:9], "more_body": True})
            await send({"type": "http.response.body", "body": error[9:]})

        model = Held()
        model._stream = refuse  # type: ignore[method-assign]
        call = AsgiCall(shell(model), CHAT, STREAMED)
        await kept_alive(call)
        model.wake()
        await call.finish()
        assert call.status == 200
        said = without_comments(call)
        assert said.endswith(b"\n\n")
        lines = said.strip().splitlines()
        assert all(line.startswith(b"data: ") for line in lines)
        assert b"\n".join(line.removeprefix(b"data: ") for line in lines) == error

    run(scenario())


def test_who_does_not_stream_waits_for_the_status():
    async def scenario() -> None:
        model = Held(headers=[(b"content-type", b"application/json")], chunks=[b"{}"])
        call = AsgiCall(shell(model), CHAT, {"model": "one"})
        watched = AsgiCall(shell(model), CHAT, STREAMED)
        await kept_alive(watched)  # long after its patience, and the other's, has ended
        assert call.status is None
        model.wake()
        await call.finish()
        await watched.finish()
        assert (call.status, call.content) == (200, b"{}")

    run(scenario())


def test_a_model_that_cannot_be_served_is_told_in_the_stream_too():
    async def scenario() -> None:
        model = Held()
        model.refusal = ModelFailedError("no tokenizer")
        call = AsgiCall(shell(model), CHAT, STREAMED)
        await kept_alive(call)
        model.wake()
        await call.finish()
        assert b"no tokenizer" in call.content

    run(scenario())


@pytest.mark.parametrize("body", [STREAMED, {"model": "one"}], ids=["streamed", "whole"])
def test_a_client_that_leaves_waits_no_more(body):
    async def scenario() -> None:
        model = Held()
        app = shell(model)
        call = AsgiCall(app, CHAT, body)
        await eventually(lambda: model.waiting == 1)
        assert app.streams == 1
        call.leave()
        await call.finish()
        assert (model.waiting, app.streams, model.requests) == (0, 0, 0)

    run(scenario())


def test_a_request_that_is_cancelled_waits_no_more():
    async def scenario() -> None:
        model = Held()
        app = shell(model)
        call = AsgiCall(app, CHAT, STREAMED)
        await kept_alive(call)
        call._task.cancel()
        await asyncio.wait({call._task})
        assert (model.waiting, app.streams) == (0, 0)

    run(scenario())


def test_a_resumable_stream_is_kept_alive_and_can_be_resumed(monkeypatch):
    async def scenario() -> None:
        model = Held()
        app = shell(model)
        call = _resumable_call(app)
        await kept_alive(call)
        model.wake()
        await call.finish()
        first, second = without_comments(call).split(b"\n\n")[:-1]
        name, _, event = first.partition(b"\n")
        assert (event, second.endswith(b"data: [DONE]")) == (b"data: 1", True)
        again = resume(app, name.removeprefix(b"id: ").decode())
        await again.task
        assert [event for _, event in again.events] == EVENTS[1:]

    run(scenario())


def _resumable_call(app: ASGIApp) -> AsgiCall:
    async def with_header(scope, receive, send) -> None:
        own = [(name.encode(), value.encode()) for name, value in RESUMABLE.items()]
        await app({**scope, "headers": [*scope["headers"], *own]}, receive, send)

    return AsgiCall(with_header, CHAT, STREAMED)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"stream": true}', True),
        (b'{"model": "x", "stream": true, "n": 1}', True),
        (b'{"stream": false}', False),
        (b'{"stream": null}', False),
        (b'{"stream": "true"}', False),
        (b'{"stream": 1}', False),
        (b'{"x": {"stream": true}}', False),
        (b'[{"stream": true}]', False),
        (b"", False),
        (b"{", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_what_asks_for_a_stream(body, asks):
    assert asks_for_stream(body) is asks


def test_a_request_without_a_body_wakes_no_engine():
    asked: list[bool] = []

    class Noting(StubModel):
        async def ready_app(self, *, for_engine: bool = True):
            asked.append(for_engine)
            return await super().ready_app()

    async def scenario() -> None:
        app = shell(Noting("one"))
        for method in ("GET", "DELETE", "POST"):
            await _ask(app, method)

    run(scenario())
    assert asked == [False, False, True]


async def _ask(app: ASGIApp, method: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": method, "path": "/v1/x", "headers": [], "query_string": b""}
    await app(scope, receive, send)
