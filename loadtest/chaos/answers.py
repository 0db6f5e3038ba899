"""What a client got, in one form for every route, streamed or not, so that answers compare."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isclose
from typing import Any

LOGPROB_TOLERANCE = 1e-3
"""What float32 sums of another order leave."""

Logprob = tuple[str, float | None]
"""A token and its logprob; a prompt's first token has none."""


@dataclass
class Choice:
    """One of `n` answers. `logprobs` are (token, logprob) pairs, in order."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
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


def _logprobs(logprobs: dict[str, Any]) -> list[Logprob]:
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
            # Counts alone: how much of a prompt was cached differs from one time to the next.
            self.usage = {name: count for name, count in usage.items() if isinstance(count, int)}


def folded(parts: Iterable[dict[str, Any]]) -> Answer:
    """The answer that a response, or a stream's chunks, add up to."""
    answer = Answer()
    for part in parts:
        answer.add(part)
    return answer


def difference(answer: Answer, expected: Answer) -> str | None:
    """The first thing in which an answer is not the expected one, in words; None where they are the
    same: logprobs to `LOGPROB_TOLERANCE`, all else exactly."""
    if answer.choices.keys() != expected.choices.keys():
        return f"choices {sorted(answer.choices)}, not {sorted(expected.choices)}"
    for index, choice in answer.choices.items():
        if found := _choice_difference(choice, expected.choices[index]):
            return f"choice {index}: {found}"
    if answer.usage != expected.usage:
        return f"usage {answer.usage}, not {expected.usage}"
    return None


def _choice_difference(choice: Choice, expected: Choice) -> str | None:
    if found := _first_unlike("token", choice.token_ids, expected.token_ids):
        return found
    for what in ("text", "tool_calls", "finish_reason", "stop_reason"):
        got, wanted = getattr(choice, what), getattr(expected, what)
        if got != wanted:
            return f"{what} {_shown(got, wanted)}"
    return _logprobs_difference(choice.logprobs, expected.logprobs)


def _first_unlike(what: str, got: list[Any], wanted: list[Any]) -> str | None:
    for position, (mine, theirs) in enumerate(zip(got, wanted, strict=False)):
        if mine != theirs:
            return f"{what} {position} of {len(wanted)} is {mine!r}, not {theirs!r}"
    return None if len(got) == len(wanted) else f"{len(got)} {what}s, not {len(wanted)}"


def _shown(got: Any, wanted: Any) -> str:
    if isinstance(got, str) and isinstance(wanted, str):
        return _first_unlike("character", list(got), list(wanted)) or ""
    return f"is {got!r}, not {wanted!r}"


def _logprobs_difference(got: list[Logprob], wanted: list[Logprob]) -> str | None:
    if found := _first_unlike("logprob's token", [t for t, _ in got], [t for t, _ in wanted]):
        return found
    for position, ((_, mine), (_, theirs)) in enumerate(zip(got, wanted, strict=True)):
        if not _close(mine, theirs):
            return f"logprob {position} is {mine}, not {theirs}"
    return None


def _close(mine: float | None, theirs: float | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return isclose(mine, theirs, rel_tol=0, abs_tol=LOGPROB_TOLERANCE)
