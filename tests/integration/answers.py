"""What a client got, in one form for every route, streamed or not, so that answers compare."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Choice:
    """One of `n` answers. `logprobs` are (token, logprob) pairs, in order."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[tuple[str, float]] = field(default_factory=list)
    tool_calls: dict[int, tuple[str, str]] = field(default_factory=dict)
    finish_reason: str | None = None
    stop_reason: Any = None

    def add(self, piece: dict[str, Any]) -> None:
        """A choice of a response, or the next piece of one of a stream."""
        said = piece.get("message") or piece.get("delta") or {}
        self.text += piece.get("text") or said.get("content") or ""
        self.token_ids += piece.get("token_ids") or []
        self.logprobs += _logprobs(piece.get("logprobs") or {})
        self.finish_reason = piece.get("finish_reason") or self.finish_reason
        self.stop_reason = piece.get("stop_reason") or self.stop_reason
        for position, call in enumerate(said.get("tool_calls") or ()):
            self._add_call(call.get("index", position), call["function"])

    def _add_call(self, index: int, function: dict[str, Any]) -> None:
        name, arguments = self.tool_calls.get(index, ("", ""))
        self.tool_calls[index] = (
            name + (function.get("name") or ""),
            arguments + (function.get("arguments") or ""),
        )


def _logprobs(logprobs: dict[str, Any]) -> list[tuple[str, float]]:
    if "content" in logprobs:  # chat
        return [(entry["token"], entry["logprob"]) for entry in logprobs["content"] or ()]
    values = logprobs.get("token_logprobs") or ()
    return list(zip(logprobs.get("tokens") or (), values, strict=True))


@dataclass
class Answer:
    """A whole answer: its choices by index, and what it cost."""

    choices: dict[int, Choice] = field(default_factory=dict)
    usage: dict[str, int] | None = None

    def add(self, part: dict[str, Any]) -> None:
        """A response, or the next chunk of a stream."""
        for piece in part["choices"]:
            self.choices.setdefault(piece["index"], Choice()).add(piece)
        if usage := part.get("usage"):
            self.usage = {name: count for name, count in usage.items() if count is not None}


def folded(parts: Iterable[dict[str, Any]]) -> Answer:
    """The answer that a response, or a stream's chunks, add up to."""
    answer = Answer()
    for part in parts:
        answer.add(part)
    return answer
