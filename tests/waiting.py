"""Waiting for what another thread, process or machine brings about, without guessing how long it
takes: what tests do instead of sleeping.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

DEADLINE_S = 60.0
POLL_S = 0.02


class StillWaitingError(AssertionError):
    """The deadline passed."""


def until(
    look: Callable[[], _T | None], *, within_s: float = DEADLINE_S, what: str = "it comes true"
) -> _T:
    """The first value of `look` that is not falsy. Raises StillWaitingError, saying `what`."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        _check(deadline_s, within_s, what)
        time.sleep(POLL_S)
    return found


async def eventually(
    look: Callable[[], _T | None], *, within_s: float = DEADLINE_S, what: str = "it comes true"
) -> _T:
    """The same, letting this thread's event loop run meanwhile."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        _check(deadline_s, within_s, what)
        await asyncio.sleep(POLL_S)
    return found


def _check(deadline_s: float, within_s: float, what: str) -> None:
    if time.monotonic() > deadline_s:
        raise StillWaitingError(f"not within {within_s:g} s: {what}")
