"""A session's turns as request bodies; a later turn carries what was said before it."""

import json
from typing import Any

from loadtest.sessions import Session, Turn

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def path_of(session: Session) -> str:
    return CHAT if session.chat else COMPLETIONS


class Conversation:
    """What was said so far in one session. A completion's prompt is all of it in one text."""

    def __init__(self, session: Session, model: str) -> None:
        self._session, self._model = session, model
        self._messages: list[dict[str, str]] = []
        self._text = ""
        if session.system is not None:
            self._messages.append({"role": "system", "content": session.system})

    def ask(self, turn: Turn) -> bytes:
        """The body that asks `turn`, which from now on is part of what was said."""
        said: dict[str, Any]
        if self._session.chat:
            self._messages.append({"role": "user", "content": turn.user})
            said = {"messages": self._messages}
        else:
            self._text += turn.user
            said = {"prompt": self._text}
        return _rendered({"model": self._model, **said, **_lengths(turn), **self._session.extra})

    def answered(self, text: str) -> None:
        """The server's answer to the last turn."""
        self._messages.append({"role": "assistant", "content": text})
        self._text += text


def _lengths(turn: Turn) -> dict[str, int]:
    lengths = {"max_tokens": turn.max_tokens}
    return lengths if turn.min_tokens is None else lengths | {"min_tokens": turn.min_tokens}


def _rendered(body: dict[str, Any]) -> bytes:
    streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(streamed, ensure_ascii=False, separators=(",", ":")).encode()
