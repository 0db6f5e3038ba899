"""Which model a request is for, read from its body, path or query without consuming it.

The body is read once, up to the limit, and given to the model's app again, so that vLLM's own
validation (and its own error texts) applies to everything but the choice of the model. A body that
is no JSON object, or whose model is no text, is vLLM's to refuse.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import BodyTooLargeError

BODYLESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class _NamesModel(msgspec.Struct):
    model: str | None = None


class _NamesSession(msgspec.Struct):
    user: str | None = None
    vllm_xargs: Any = None


_decoder = msgspec.json.Decoder(_NamesModel)
_session_decoder = msgspec.json.Decoder(_NamesSession)

SESSION_ID_HEADER = "x-session-id"
"""vLLM's: `vllm.entrypoints.generate.base.serving`."""


class ClientGoneError(Exception):
    """The client disconnected before its body had arrived; there is nobody to answer."""


class UnreadableBodyError(Exception):
    """It cannot be seen whether the body names a model: vLLM will say what is wrong with it."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole request body.

    Raises:
        BodyTooLargeError: it is, or says it is, over `max_bytes`.
        ClientGoneError: the client left meanwhile.
    """
    with suppress(ValueError):  # a length that is no number is the HTTP server's to refuse
        _check_size(int(Headers(scope=scope).get("content-length", "0")), max_bytes)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        _check_size(size, max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise BodyTooLargeError(
            f"the request body has {size} bytes or more; at most {max_bytes} are accepted "
            "(gateway.max_body_mb)"
        )


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` again, then whatever comes (the disconnect)."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def disconnected(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


LEAVE_GRACE_S = 5.0
"""How long an app may take to end a request whose client has left."""


async def run_app(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run a model's app; to it, a cancellation is its client's disconnect.

    Ray Serve cancels a request whose client has left. vLLM's handlers run in tasks of their own,
    which only the disconnect message ends: a mere cancellation leaves them generating for nobody.
    """
    gone = asyncio.Event()
    task = asyncio.ensure_future(app(scope, _or_disconnect(receive, gone), send))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        gone.set()
        await asyncio.wait({task}, timeout=LEAVE_GRACE_S)
        task.cancel()
        raise


def _or_disconnect(receive: Receive, gone: asyncio.Event) -> Receive:
    """`receive`, or the disconnect once `gone` is set."""

    async def receive_or_disconnect() -> Message:
        message = asyncio.ensure_future(receive())
        left = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait({message, left}, return_when=asyncio.FIRST_COMPLETED)
            return message.result() if message.done() else {"type": "http.disconnect"}
        finally:
            message.cancel()
            left.cancel()

    return receive_or_disconnect


async def named_model(scope: Scope, body: bytes) -> str | None:
    """The model the request names, or None where it names none.

    Raises:
        UnreadableBodyError: it has a body that is no JSON object and no form, or a model that is no
            text.
    """
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if query.get("model"):
        return query["model"][0]
    if not body:
        return None
    headers = Headers(scope=scope)
    is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
    name = await _model_of_form(headers, body) if is_form else _model_of_json(body)
    return name or None  # to vLLM an empty name is none


def name_session(scope: Scope, body: bytes) -> None:
    """Where a request names no session, have its `user` be one: vLLM reads a header for it.

    vLLM prefers the body's `session_id` to the header, and that to the one in `vllm_xargs`.
    """
    headers = MutableHeaders(scope=scope)
    if headers.get(SESSION_ID_HEADER):
        return
    with suppress(ValueError, RecursionError):
        named = _session_decoder.decode(body)
        has_own = isinstance(named.vllm_xargs, dict) and named.vllm_xargs.get("session_id")
        if named.user and not has_own:
            headers[SESSION_ID_HEADER] = quote(named.user)


def _model_of_json(body: bytes) -> str | None:
    # msgspec's errors and those of text that is no UTF-8 are ValueErrors.
    with suppress(ValueError, RecursionError):
        return _decoder.decode(body).model
    # vLLM's parser is Python's, which takes more: NaN, a byte order mark, half a surrogate pair.
    with suppress(ValueError, RecursionError):
        parsed = json.loads(body)
        model = parsed.get("model") if isinstance(parsed, dict) else None
        if not isinstance(parsed, dict) or not isinstance(model, str | None):
            raise UnreadableBodyError
        if model:
            model.encode()  # raises where it is half a surrogate pair
        return model
    raise UnreadableBodyError


async def _model_of_form(headers: Headers, body: bytes) -> str | None:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, stream()).parse()
    except (MultiPartException, KeyError) as error:
        raise UnreadableBodyError from error
    model = form.get("model")
    await form.close()
    if model is None or isinstance(model, str):
        return model
    raise UnreadableBodyError
