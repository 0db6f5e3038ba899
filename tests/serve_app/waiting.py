"""Waiting for what another thread or process brings about, without guessing how long it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE_S = 60.0
POLL_S = 0.01


def wait_until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Poll a condition until it holds; fails at the deadline."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true"
        time.sleep(POLL_S)


async def eventually(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """The same, letting this thread's event loop run meanwhile."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true"
        await asyncio.sleep(POLL_S)
