"""The order in which things happen: a heap of instants, each with what is done then."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

Action = Callable[..., None]

ARRIVAL, STEP, LOOK = range(3)
"""Ranks: at one instant requests arrive first, then steps end, then engines are looked at. So an
engine that ends a step as a request arrives can take it into the next."""


class EventQueue:
    """Equal instants go by rank, and by the order in which they were put in."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, int, Action, tuple[Any, ...]]] = []
        self._count = count()

    def at(self, at_s: float, rank: int, action: Action, *arguments: Any) -> None:
        # Sums of many steps may end a rounding error before now.
        heappush(self._heap, (max(at_s, self.now_s), rank, next(self._count), action, arguments))

    @property
    def next_s(self) -> float:
        """When something happens next; infinite where nothing does."""
        return self._heap[0][0] if self._heap else inf

    def run_next(self) -> None:
        """Does what comes next; there must be something."""
        self.now_s, _rank, _count, action, arguments = heappop(self._heap)
        action(*arguments)
