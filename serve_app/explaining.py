"""`POST /fleet/explain`: where a request would go, and why, without sending it.

The body goes through the model's own app like any request, so that it is read, checked and
tokenized as vLLM does it; only instead of the engine (`fleet_llm.FleetLLM`) it meets the question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPLAIN_PATH = "/fleet/explain"
PATH_OF_FIELD = {
    "messages": "/v1/chat/completions",
    "prompt": "/v1/completions",
    "input": "/v1/embeddings",
}
"""Which route a body is for, by a field that it has, unless `?path=` says it."""


@dataclass(slots=True)
class Question:
    """Put before an app is run; answered from within."""

    answer: dict[str, Any] | None = None


_question: ContextVar[Question | None] = ContextVar("tokenfleet_question", default=None)


class ExplainedError(ValueError):
    """The request ends here: it was only asked about."""

    def __init__(self) -> None:
        super().__init__("the request was explained, not sent")


def question() -> Question | None:
    """What the request that is being handled is only to be explained for; None: it is meant."""
    return _question.get()


def path_asked(scope: Scope, body: bytes) -> str:
    """The route that the body is for."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if query.get("path"):
        return query["path"][0]
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except ValueError:
        fields = {}  # vLLM will say what is wrong with it
    named = (path for field, path in PATH_OF_FIELD.items() if field in fields)
    return next(named, PATH_OF_FIELD["messages"])


async def explain_by(
    run: Callable[[ASGIApp, Scope, Receive, Send], Awaitable[None]],
    app: ASGIApp,
    path: str,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer with the explanation, or with what the app says is wrong with the request."""
    asked = Question()
    said: list[Message] = []

    async def keep(message: Message) -> None:
        said.append(message)

    token = _question.set(asked)
    try:
        inner = {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}
        await run(app, inner, receive, keep)
    finally:
        _question.reset(token)
    if asked.answer is not None:
        await JSONResponse(asked.answer)(scope, receive, send)
        return
    for message in said:
        await send(message)
