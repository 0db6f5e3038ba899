"""What came of one request: its answer or why there is none, and when its chunks came."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from loadtest.chaos.answers import Answer, folded
from loadtest.chaos.kinds import Kind
from loadtest.reply import DONE, RawReply, body_message, message_of
from loadtest.sse import SSEParser


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Exactly one of `answer` and `error` gets set. Instants are monotonic seconds.

    `cut`: the transport or the ingress ended it, as opposed to an error that a gateway answered.
    """

    kind: str
    began_s: float
    ended_s: float
    answer: Answer | None = None
    error: str | None = None
    cut: bool = False
    chunk_at_s: tuple[float, ...] = ()

    @property
    def longest_gap_s(self) -> float | None:
        """Between two chunks; None where there are not two, as without streaming."""
        return max((b - a for a, b in pairwise(self.chunk_at_s)), default=None)


class _BadReplyError(Exception):
    """The reply is not the answer that was asked for."""


def outcome_of(kind: Kind, reply: RawReply, ended_s: float) -> Outcome:
    """Reads a reply; whatever is wrong with it becomes the outcome's `error`."""
    outcome = Outcome(kind=kind.name, began_s=reply.t0_s, ended_s=ended_s)
    if reply.failure or reply.status != 200:
        error = reply.failure or f"http {reply.status}: {body_message(reply)}"
        return replace(outcome, error=error, cut=_by_ingress(reply))
    try:
        parts, chunk_at_s = _chunks(reply) if kind.stream else ([_whole(reply)], [])
        answer = folded(parts)
    except _BadReplyError as error:
        return replace(outcome, error=str(error))
    except (LookupError, TypeError, ValueError) as error:
        return replace(outcome, error=f"not an answer: {type(error).__name__}: {error}")
    return replace(outcome, answer=answer, chunk_at_s=tuple(chunk_at_s))


def _by_ingress(reply: RawReply) -> bool:
    """Whether no gateway said this. Gateways answer in JSON; Ray Serve's HAProxy says a plain 500
    for a gateway that is gone, whatever it would say itself (502, 503, 504)."""
    if reply.failure is not None:
        return True
    body = b"".join(data for _, data in reply.parts)
    return reply.status >= 500 and not body.lstrip().startswith(b"{")


def _whole(reply: RawReply) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(b"".join(data for _, data in reply.parts))
    return body


def _chunks(reply: RawReply) -> tuple[list[dict[str, Any]], list[float]]:
    """The chunks of a complete stream, and the instant of each."""
    parser, chunks, at_s = SSEParser(), list[dict[str, Any]](), list[float]()
    done = False
    for read_at_s, data in reply.parts:
        for event in parser.feed(data):
            if event == DONE:
                done = True
                continue
            chunks.append(_chunk(event))
            at_s.append(read_at_s)
    if not done:
        raise _BadReplyError("the stream ended without [DONE]")
    return chunks, at_s


def _chunk(event: bytes) -> dict[str, Any]:
    chunk: dict[str, Any] = json.loads(event)
    if "error" in chunk:
        raise _BadReplyError(f"error event: {message_of(chunk)}")
    return chunk
