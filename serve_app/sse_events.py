"""The events of a server-sent event stream, and the ids that a client resumes by, sans I/O.

An event is the bytes up to and including its blank line; lines end in LF, CR or CRLF (the WHATWG
event-stream rules). Its id is `<owner>.<token>.<number>`: the gateway that keeps the stream, the
stream's secret, and the event's place, counted from 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from serve_app.errors import BadEventIdError

# A CR at the very end is not taken for a line's end yet: a LF that follows would belong to it.
_EOL = rb"(?:\r\n|\n|\r(?=[^\n]))"
_EVENT = re.compile(rb"(?:[^\r\n]++%b)*+%b" % (_EOL, _EOL))
_ID = re.compile(r"([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{22,64})(?:\.([0-9]{1,15}))?")


class EventSplitter:
    """Feed it the chunks of a response body, however they are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes; joined, all events are the body, byte for byte."""
        text, start, events = self._rest + chunk, 0, []
        while match := _EVENT.match(text, start):
            events.append(match.group())
            start = match.end()
        self._rest = text[start:]
        return events

    def end(self) -> list[bytes]:
        """What the body's end leaves: nothing, or one event, whole or cut off."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


@dataclass(frozen=True, slots=True)
class EventId:
    """The place of an event; `number` -1 is the place before the first."""

    owner: str
    token: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `Last-Event-ID`; without a number (only a `x-tokenfleet-stream`), from the start.

        Raises:
            BadEventIdError: no gateway has given such an id.
        """
        match = _ID.fullmatch(text)
        if match is None:
            raise BadEventIdError(
                f"Last-Event-ID {text[:100]!r} is none of this endpoint's: send the last `id` of a "
                "stream that was asked for with x-tokenfleet-resumable"
            )
        owner, token, number = match.groups()
        return cls(owner, token, -1 if number is None else int(number))
