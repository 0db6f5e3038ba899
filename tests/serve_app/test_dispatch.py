"""Reading a request's body once, within the limit, and finding the model it names."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serve_app.dispatch import (
    SESSION_ID_HEADER,
    ClientGoneError,
    UnreadableBodyError,
    name_session,
    named_model,
    read_body,
    replayed,
    run_app,
)
from serve_app.errors import BodyTooLargeError

LIMIT = 100
GONE = {"type": "http.disconnect"}


def scope(query: str = "", **headers: str) -> dict:
    """An ASGI scope; header names with `_` for `-`."""
    raw = [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in headers.items()]
    return {"type": "http", "method": "POST", "query_string": query.encode(), "headers": raw}


class Client:
    """The `receive` of a client that sends these chunks, then hangs up."""

    def __init__(self, *chunks: bytes, leaves_early: bool = False) -> None:
        last = len(chunks) - 1
        self._messages = [
            {"type": "http.request", "body": c, "more_body": i < last or leaves_early}
            for i, c in enumerate(chunks)
        ]
        self.read = 0

    async def __call__(self) -> dict:
        if self.read == len(self._messages):
            return GONE
        self.read += 1
        return self._messages[self.read - 1]


def body_of(client: Client, **headers: str) -> bytes:
    return asyncio.run(read_body(scope(**headers), client, LIMIT))


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [
        pytest.param([b""], {}, id="empty"),
        pytest.param([b"x" * 100], {"content_length": "100"}, id="just at the limit"),
        pytest.param([b"a" * 60, b"", b"b" * 40], {}, id="in chunks, without a length"),
        pytest.param([b"abc"], {"content_length": "abc"}, id="a length that is no number"),
        pytest.param([b"abc"], {"content_length": "\xb2"}, id="a digit that is no number"),
        pytest.param([b"abc"], {"content_length": "9" * 5000}, id="a length beyond reason"),
    ],
)
def test_a_body_within_the_limit_is_read_whole(chunks, headers):
    assert body_of(Client(*chunks), **headers) == b"".join(chunks)


def test_a_body_that_says_it_is_too_large_is_refused_unread():
    client = Client(b"x" * 60, b"x" * 60)
    with pytest.raises(BodyTooLargeError, match="at most 100 are accepted"):
        body_of(client, content_length="120")
    assert client.read == 0


@pytest.mark.parametrize("headers", [{}, {"content_length": "50"}], ids=["chunked", "it lied"])
def test_a_body_that_grows_too_large_is_refused_as_soon_as_it_does(headers):
    client = Client(b"x" * 60, b"x" * 60, b"x" * 60)
    with pytest.raises(BodyTooLargeError):
        body_of(client, **headers)
    assert client.read == 2


@pytest.mark.parametrize("chunks", [[], [b"half"]], ids=["before the body", "inside the body"])
def test_a_client_that_leaves_is_told_from_one_that_is_done(chunks):
    with pytest.raises(ClientGoneError):
        body_of(Client(*chunks, leaves_early=True))


def test_the_body_can_be_read_again_and_then_the_disconnect():
    async def read_twice() -> list[dict]:
        client = Client(b"ab", b"cd")
        body = await read_body(scope(), client, LIMIT)
        again = replayed(body, client)
        return [await again(), await again(), await again()]

    whole = {"type": "http.request", "body": b"abcd", "more_body": False}
    assert asyncio.run(read_twice()) == [whole, GONE, GONE]


UNREADABLE = UnreadableBodyError


def model_of(body: bytes, query: str = "", **headers: str) -> str | type[Exception] | None:
    """The name, or the error in its place."""
    try:
        return asyncio.run(named_model(scope(query, **headers), body))
    except UnreadableBodyError as error:
        return type(error)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        pytest.param(b'{"messages": [], "model": "demo"}', "demo", id="where it stands is free"),
        pytest.param('{"model": "今天"}'.encode(), "今天", id="any script"),
        pytest.param(b'{"model": "a\\/b"}', "a/b", id="escaped"),
        pytest.param(b'{"model": "x", "model": "demo"}', "demo", id="the last of two, as vLLM"),
        pytest.param(b'{"model": "demo", "temperature": NaN}', "demo", id="NaN"),
        pytest.param(b'{"text": "\\ud83d", "model": "demo"}', "demo", id="half a surrogate pair"),
        pytest.param(b'\xef\xbb\xbf{"model": "demo"}', "demo", id="a byte order mark"),
        pytest.param(b'{"messages": []}', None, id="no model"),
        pytest.param(b'{"model": null}', None, id="null"),
        pytest.param(b'{"model": ""}', None, id="an empty name"),
        pytest.param(b'{"model": 5}', UNREADABLE, id="a number"),
        pytest.param(b'{"model": ["demo"]}', UNREADABLE, id="a list"),
        pytest.param(b'{"model": "\\ud83d"}', UNREADABLE, id="a name that is no text"),
        pytest.param(b'["model", "demo"]', UNREADABLE, id="no object"),
        pytest.param(b'{"model": "demo"', UNREADABLE, id="JSON that is cut off"),
        pytest.param(b"model=demo", UNREADABLE, id="no JSON"),
        pytest.param(b"\xff\xfe", UNREADABLE, id="no text"),
        pytest.param(b'{"a": ' + b"[" * 100_000, UNREADABLE, id="nested without end"),
        pytest.param(b"", None, id="no body"),
    ],
)
def test_the_model_of_a_json_body(body, model):
    assert model_of(body) == model


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("model=demo", "demo"),
        ("a=1&model=meta-llama%2FLlama&model=x", "meta-llama/Llama"),
        ("model=", None),
        ("model", None),
        ("models=demo", None),
        ("model=%ff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_model_of_a_query(query, model):
    assert model_of(b"", query) == model


def test_the_query_is_asked_first():
    assert model_of(b'{"model": "body"}', "model=query") == "query"


BOUNDARY = "frontier"
FORM = {"content_type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(content: str, **disposition: str) -> str:
    fields = "".join(f'; {name}="{value}"' for name, value in disposition.items())
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data{fields}\r\n\r\n{content}\r\n"


def form(*parts: str) -> bytes:
    return f"{''.join(parts)}--{BOUNDARY}--\r\n".encode()


AUDIO = part("RIFF....", name="file", filename="a.wav")


@pytest.mark.parametrize(
    ("body", "headers", "model"),
    [
        pytest.param(form(AUDIO, part("demo", name="model")), FORM, "demo", id="beside a file"),
        pytest.param(
            form(part("demo", name="model")),
            {"content_type": f"Multipart/Form-Data; boundary={BOUNDARY}"},
            "demo",
            id="the type in capitals",
        ),
        pytest.param(form(AUDIO), FORM, None, id="no model"),
        pytest.param(
            form(part("demo", name="model", filename="m")),
            FORM,
            UNREADABLE,
            id="the model is a file",
        ),
        pytest.param(
            form(AUDIO), {"content_type": "multipart/form-data"}, UNREADABLE, id="no boundary"
        ),
        pytest.param(b"--frontier\r\nnonsense", FORM, None, id="no form"),
        pytest.param(
            form(part("demo", name="model"))[:-20], FORM, None, id="a form that is cut off"
        ),
        pytest.param(
            form(part("x" * 2_000_000, name="text")), FORM, UNREADABLE, id="too large a field"
        ),
    ],
)
def test_the_model_of_a_form(body, headers, model):
    assert model_of(body, **headers) == model


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@example({"model": ""}, True)
@given(st.dictionaries(st.sampled_from(["model", "messages", "n"]), json_values), st.booleans())
def test_what_vllm_reads_is_what_is_dispatched_by(request, ascii_only):
    """The oracle: vLLM reads bodies with Python's own parser."""
    body = json.dumps(request, ensure_ascii=ascii_only).encode()
    read = json.loads(body).get("model")
    assert model_of(body) == ((read or None) if isinstance(read, str | None) else UNREADABLE)


@settings(deadline=None)
@given(st.binary(), st.binary(max_size=20), st.booleans())
def test_arbitrary_bytes_name_a_model_or_none_or_are_unreadable(body, query, as_form):
    headers = FORM if as_form else {}
    framed = form(body.decode("latin-1")) if as_form else body
    given_scope = {**scope(**headers), "query_string": query}
    try:
        model = asyncio.run(named_model(given_scope, framed))
    except UnreadableBodyError:
        return
    assert model is None or isinstance(model, str)


class LongCall:
    """An app as vLLM's handlers are: it works until the client is gone, then tidies up."""

    def __init__(self, tidies: bool = True) -> None:
        self.started, self.left = asyncio.Event(), asyncio.Event()
        self.tidied = False
        self._tidies = tidies

    async def __call__(self, scope: dict, receive, send) -> None:
        self.started.set()
        assert await receive() == GONE
        self.left.set()
        if not self._tidies:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.tidied = True


async def silent() -> dict:
    """A client that neither says anything more nor leaves."""
    await asyncio.Event().wait()
    raise AssertionError


async def nowhere(message: dict) -> None:
    """A `send` that nobody reads."""


def test_an_app_whose_request_is_cancelled_sees_its_client_leave():
    async def cancel() -> LongCall:
        app = LongCall()
        task = asyncio.ensure_future(run_app(app, scope(), silent, nowhere))
        await app.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return app

    assert asyncio.run(cancel()).tidied


def test_an_app_that_does_not_end_when_its_client_left_is_ended(monkeypatch):
    monkeypatch.setattr("serve_app.dispatch.LEAVE_GRACE_S", 0.01)

    async def cancel() -> LongCall:
        app = LongCall(tidies=False)
        task = asyncio.ensure_future(run_app(app, scope(), silent, nowhere))
        await app.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return app

    assert not asyncio.run(cancel()).tidied


def test_an_app_gets_its_client_s_messages_and_its_errors_come_through():
    async def app(scope: dict, receive, send) -> None:
        assert (await receive())["body"] == b"ab"
        assert await receive() == GONE
        await send({"type": "http.response.start", "status": 200})
        raise ValueError("from the app")

    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    with pytest.raises(ValueError, match="from the app"):
        asyncio.run(run_app(app, scope(), Client(b"ab"), send))
    assert [message["status"] for message in sent] == [200]


# Sessions


def session_of(body: bytes, **headers: str) -> str | None:
    """What the app is told the session is; no other header changes."""
    asked = scope(**headers)
    others = [each for each in asked["headers"] if each[0] != SESSION_ID_HEADER.encode()]
    name_session(asked, body)
    assert [each for each in asked["headers"] if each[0] != SESSION_ID_HEADER.encode()] == others
    return Headers(scope=asked).get(SESSION_ID_HEADER)


@pytest.mark.parametrize(
    ("body", "headers", "session"),
    [
        pytest.param({"user": "ada"}, {}, "ada", id="the body's user"),
        pytest.param({"user": "ada"}, {"x_session_id": "mine"}, "mine", id="a header wins"),
        pytest.param({"user": "ada"}, {"x_session_id": ""}, "ada", id="an empty header is none"),
        pytest.param({"user": ""}, {}, None, id="nor is an empty user one"),
        pytest.param({"user": "a b\n\0"}, {}, "a%20b%0A%00", id="what no header may hold"),
        pytest.param({"user": "\N{SNOWMAN}"}, {}, "%E2%98%83", id="more than Latin-1"),
        pytest.param({"user": 5}, {}, None, id="a number"),
        pytest.param({"user": None}, {}, None, id="null"),
        pytest.param({}, {}, None, id="nobody"),
        pytest.param(["user"], {}, None, id="no object"),
        pytest.param(
            {"user": "ada", "vllm_xargs": {"session_id": "s"}}, {}, None, id="vLLM's own argument"
        ),
        pytest.param({"user": "ada", "vllm_xargs": {"x": 1}}, {}, "ada", id="another argument"),
        pytest.param({"user": "ada", "vllm_xargs": 5}, {}, "ada", id="arguments that are none"),
    ],
)
def test_a_session_is_what_the_client_says_or_its_user(body, headers, session):
    assert session_of(json.dumps(body).encode(), **headers) == session


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"user": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json_names_no_session(body):
    assert session_of(body) is None
    assert session_of(body, x_session_id="mine") == "mine"


@settings(max_examples=100)
@given(st.text(min_size=1), st.text(min_size=1))
def test_two_users_are_two_sessions_that_fit_in_a_header(one, other):
    sessions = [session_of(json.dumps({"user": user}).encode()) for user in (one, other)]
    assert all(session.isascii() and session.isprintable() for session in sessions)
    assert (sessions[0] == sessions[1]) == (one == other)
