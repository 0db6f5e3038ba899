"""What a streamed reply of the OpenAI API says, read after the fact from time-stamped bytes.

Parsing is kept out of the client's hot path: while streams run, the client only stamps and stores
(`loadtest/client.py`); JSON is decoded here, once the measured window is over. Covers
`/v1/chat/completions` and `/v1/completions`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from zlib import crc32

from loadtest.metrics import RequestSample
from loadtest.sse import SSEParser

DONE = b"[DONE]"
# What a chat delta may carry, vLLM's and OpenAI's names. `role` alone is not content.
DELTA_CONTENT = ("content", "reasoning", "reasoning_content", "refusal", "tool_calls")


@dataclass(slots=True)
class RawReply:
    """Bytes of one HTTP response body as they arrived: `parts` holds (instant in s, bytes)."""

    t0_s: float
    status: int = 0
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    failure: str | None = None  # why the transport cut it: disconnected, timeout …


@dataclass(slots=True)
class Reading:
    """What the events read so far add up to. `choices` are those with content, as they came, kept
    for who wants the text."""

    content_at_s: list[float] = field(default_factory=list)
    choices: list[Mapping[str, Any]] | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    text_crc32: int = 0
    done: bool = False
    error: str | None = None

    @property
    def text(self) -> str | None:
        """The answer's text, of the first choice and without reasoning, as far as it came; None
        where nobody wanted it."""
        if self.choices is None:
            return None
        return "".join(_text(choice) for choice in self.choices if not choice.get("index"))

    def take(self, at_s: float, data: bytes) -> None:
        if data == DONE:
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            self.error = f"not JSON: {data[:80]!r}"
            return
        self._take_event(at_s, event)

    def _take_event(self, at_s: float, event: Any) -> None:
        if not isinstance(event, dict):
            self.error = f"not an object: {event!r:.80}"
        elif "error" in event:
            self.error = f"error event: {message_of(event)}"
        else:
            self.usage = event.get("usage") or self.usage
            if content := content_of(event):
                self.content_at_s.append(at_s)
                if self.choices is not None:
                    self.choices.extend(event["choices"])
                self.text_crc32 = crc32(content.encode(), self.text_crc32)


def content_of(event: Mapping[str, Any]) -> str:
    """The new content of one chunk over all its choices; empty for role-only and usage chunks."""
    return "".join(_choice_content(choice) for choice in event.get("choices") or ())


def _choice_content(choice: Mapping[str, Any]) -> str:
    delta = choice.get("delta") or {}
    parts = [choice.get("text"), *(delta.get(key) for key in DELTA_CONTENT)]
    return "".join(p if isinstance(p, str) else json.dumps(p) for p in parts if p)


def _text(choice: Mapping[str, Any]) -> str:
    return (choice.get("delta") or {}).get("content") or choice.get("text") or ""


def sample_of(
    reply: RawReply, t_sched_s: float | None = None, reading: Reading | None = None
) -> RequestSample:
    """The request's sample, of its `reading` where it was read already. A reply that is not a
    complete, well-formed stream has an `error`, and keeps the instants of what did arrive."""
    reading = reading or reading_of(reply)
    at_s = reading.content_at_s
    details = reading.usage.get("prompt_tokens_details") or {}
    return RequestSample(
        t_sched_s=reply.t0_s if t_sched_s is None else t_sched_s,
        t0_s=reply.t0_s,
        t1_s=at_s[0] if at_s else None,
        tn_s=at_s[-1] if at_s else None,
        itl_us=tuple(round((after - before) * 1e6) for before, after in pairwise(at_s)),
        output_tokens=reading.usage.get("completion_tokens"),
        prompt_tokens=reading.usage.get("prompt_tokens"),
        cached_tokens=details.get("cached_tokens"),
        text_crc32=reading.text_crc32,
        error=_error(reply, reading),
    )


def reading_of(reply: RawReply, *, wants_text: bool = False) -> Reading:
    """Of a reply with an HTTP error, empty."""
    parser, reading = SSEParser(), Reading(choices=[] if wants_text else None)
    for at_s, part in reply.parts if reply.status == 200 else ():
        for data in parser.feed(part):
            reading.take(at_s, data)
    return reading


def _error(reply: RawReply, reading: Reading) -> str | None:
    """The first of: transport, status, in-stream error, early end, missing usage."""
    if reply.failure:
        return reply.failure
    if reply.status != 200:
        return f"http {reply.status}: {body_message(reply)}"
    if reading.error:
        return reading.error
    if not reading.done:
        return "ended without [DONE]"
    return None if reading.usage else "no usage in the stream"


def body_message(reply: RawReply) -> str:
    body = b"".join(part for _, part in reply.parts)
    try:
        return message_of(json.loads(body))
    except ValueError:
        return body[:200].decode(errors="replace")


def message_of(body: Any) -> str:
    """The message of an OpenAI error body, which some servers leave flat."""
    error = body.get("error", body) if isinstance(body, dict) else body
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
