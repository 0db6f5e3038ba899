"""How late an event loop runs what is due: the sign that a gateway has too many streams."""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import median

EVERY_S = 0.1
REMEMBERED = 100
"""Looks, of 10 s at least: a loop that is blocked once, however long, is late once."""


class LoopLag:
    """`lag_s` is the median of the last looks; None before there were as many."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def lag_s(self) -> float | None:
        return median(self._late_s) if len(self._late_s) == REMEMBERED else None

    def note(self, late_s: float) -> None:
        """It ran so late."""
        self._late_s.append(max(late_s, 0.0))

    async def watch(self) -> None:
        """Look, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.note(loop.time() - due_s)
