"""Waiting for something to become true, with a deadline: what tests do instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

POLL_S = 0.05


class StillWaitingError(AssertionError):
    """The deadline passed."""


def until(look: Callable[[], _T | None], *, within_s: float, what: str) -> _T:
    """The first value of `look` that is not falsy. Raises StillWaitingError, saying `what`."""
    deadline_s = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > deadline_s:
            raise StillWaitingError(f"not within {within_s:g} s: {what}")
        time.sleep(POLL_S)
    return found
