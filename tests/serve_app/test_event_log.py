"""The log of a stream's last events, against a list that forgets nothing."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serve_app.event_log import EVENT_OVERHEAD_BYTES, EventLog


def size_of(events: list[bytes]) -> int:
    return sum(len(event) + EVENT_OVERHEAD_BYTES for event in events)


class LogAgainstList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.log = EventLog()
        self.events: list[bytes] = []
        self.first = self.position = 0

    @rule(event=st.binary(max_size=50))
    def append(self, event: bytes) -> None:
        assert self.log.append(event) == size_of([event])
        self.events.append(event)

    @rule(max_bytes=st.integers(1, 300))
    def take(self, max_bytes: int) -> None:
        taken = self.log.take(max_bytes)
        end = self.position + len(taken)
        assert taken == list(enumerate(self.events))[self.position : end]
        assert (end < len(self.events)) <= (size_of(self.events[self.position : end]) >= max_bytes)
        assert size_of([event for _, event in taken[:-1]]) < max_bytes
        self.position = end

    @rule(position=st.integers(0, 20))
    def seek(self, position: int) -> None:
        possible = self.first <= position <= len(self.events)
        assert self.log.seek(position) == possible
        self.position = position if possible else self.position

    @rule()
    def forget(self) -> None:
        read = self.position - self.first
        forgotten = (read + 1) // 2
        freed_bytes = size_of(self.events[self.first : self.first + forgotten])
        assert self.log.forget_older_half() == freed_bytes
        self.first += forgotten

    @invariant()
    def sizes(self) -> None:
        assert self.log.size_bytes == size_of(self.events[self.first :])
        assert self.log.unread_bytes == size_of(self.events[self.position :])


TestLogAgainstList = LogAgainstList.TestCase
