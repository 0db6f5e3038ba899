"""The last events of one stream, numbered from 0, and how far its reader has got. Pure."""

from __future__ import annotations

from collections import deque

EVENT_OVERHEAD_BYTES = 64
"""What an event takes in memory beside its bytes: the object's header and its place in the log."""


class EventLog:
    """Keeps every event until told to forget. Sizes include the overhead of each event."""

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._first = 0  # number of the oldest kept event
        self._position = 0  # number of the event to read next
        self.size_bytes = 0
        self.unread_bytes = 0

    def append(self, event: bytes) -> int:
        """Keep one more; by how many bytes the log grew."""
        self._events.append(event)
        size_bytes = _size_bytes(event)
        self.size_bytes += size_bytes
        self.unread_bytes += size_bytes
        return size_bytes

    def seek(self, position: int) -> bool:
        """Read on from event `position`; False where that is not kept, or can never come next."""
        if not self._first <= position <= self._first + len(self._events):
            return False
        self._position = position
        unread = list(self._events)[position - self._first :]
        self.unread_bytes = sum(map(_size_bytes, unread))
        return True

    def take(self, max_bytes: int) -> list[tuple[int, bytes]]:
        """The next events with their numbers, at least one if there is one, and not much more than
        `max_bytes` in all."""
        taken: list[tuple[int, bytes]] = []
        while self.unread_bytes and max_bytes > 0:
            event = self._events[self._position - self._first]
            taken.append((self._position, event))
            self._position += 1
            self.unread_bytes -= _size_bytes(event)
            max_bytes -= _size_bytes(event)
        return taken

    def forget_older_half(self) -> int:
        """Forget half of the events that were read, the oldest, and at least one where there is
        one; how many bytes that frees."""
        before_bytes = self.size_bytes
        for _ in range((self._position - self._first + 1) // 2):
            self.size_bytes -= _size_bytes(self._events.popleft())
            self._first += 1
        return before_bytes - self.size_bytes


def _size_bytes(event: bytes) -> int:
    return len(event) + EVENT_OVERHEAD_BYTES
