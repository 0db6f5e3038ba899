"""`POST /fleet/explain`: where a request would go, and why, without sending it.

The body goes through the model's own app like any request, so that it is read, checked and
tokenized as vLLM does it; only that the app's engine client (`fleet_llm.FleetLLM`) notes the
request, and ends it there. Of a body that makes several requests it is the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qs

import msgspec
from starlette.types import Message, Receive, Scope, Send
from vllm.exceptions import VLLMClientError
from vllm.v1.engine import EngineCoreRequest

from serve_app.errors import NotExplainedError

EXPLAIN_PATH = "/fleet/explain"

CHAT_PATH = "/v1/chat/completions"
PATH_OF_FIELD = {
    "messages": CHAT_PATH,
    "prompt": "/v1/completions",
    "input": "/v1/embeddings",
}
"""Which route a body is for, by a field that it has, unless `?path=` says it."""

EXPLAINED_PATHS = (
    *PATH_OF_FIELD.values(), "/v1/responses", "/v1/messages", "/pooling", "/classify", "/score",
    "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank",
)  # fmt: skip
"""Routes that give engines requests. Others would do what they do: sleep, load an adapter."""


@dataclass(slots=True)
class Question:
    """Put before an app is run; `request` is what it would have sent."""

    request: EngineCoreRequest | None = None

    def note(self, request: EngineCoreRequest) -> NoReturn:
        """This is it. Raises ExplainedError, so that it goes no further."""
        if self.request is None:
            self.request = request
        raise ExplainedError


_question: ContextVar[Question | None] = ContextVar("tokenfleet_question", default=None)


class ExplainedError(VLLMClientError):
    """The request ends here: it was only asked about. (To vLLM the client's fault: of any other
    error it thinks that the engine failed.)"""

    def __init__(self) -> None:
        super().__init__("the request was explained, not sent")


def question() -> Question | None:
    """What the request that is being handled is only to be explained for; None: it is meant."""
    return _question.get()


def asked_scope(scope: Scope, body: bytes) -> dict[str, Any]:
    """What of `scope` is another in the request that is asked about.

    Raises NotExplainedError where that has no engine to go to.
    """
    path = _path(scope, body)
    if path not in EXPLAINED_PATHS:
        raise NotExplainedError(f"path: {path!r} is none of {', '.join(EXPLAINED_PATHS)}")
    return {"path": path, "raw_path": path.encode(), "query_string": b""}


def _path(scope: Scope, body: bytes) -> str:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if query.get("path"):
        return query["path"][0]
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError):
        fields = {}  # vLLM will say what is wrong with it
    return next((path for field, path in PATH_OF_FIELD.items() if field in fields), CHAT_PATH)


async def understood(
    run: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive
) -> tuple[EngineCoreRequest | None, list[Message]]:
    """What an app, run by `run`, would have sent to an engine; or None, and all that it answers."""
    asked = Question()
    said: list[Message] = []

    async def keep(message: Message) -> None:
        said.append(message)

    token = _question.set(asked)
    try:
        await run(scope, receive, keep)
    finally:
        _question.reset(token)
    return asked.request, said
