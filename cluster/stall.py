"""When an engine counts as stuck: requests run on it, and its next step does not come; or it was
asked something, and does not answer.

How long a step takes differs by five orders of magnitude between engines (a decode step of a small
model, a prefill of a large one on CPUs), so the limit is derived from the engine's own steps, over
a floor that is above what a first large prefill takes on a GPU.
"""

from __future__ import annotations

from collections import deque

FLOOR_S = 15.0
"""Least limit that is derived. An idle engine's next step may be its largest yet."""

LONGEST_STEPS = 20
"""How many of the longest recent steps the next one may take."""

RECENT_STEPS = 512

LONG_CALL_S = 600.0
"""What an engine may take, before its limit begins, for a call that loads or saves weights."""


class StepClock:
    """Times of one engine's steps while it has work. `limit_s` None: derived from them.

    All times are monotonic seconds.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._fixed_s = limit_s
        self._steps_s: deque[float] = deque(maxlen=RECENT_STEPS)
        self._since_s: float | None = None

    @property
    def limit_s(self) -> float:
        """Longer than this without a step is a stall."""
        if self._fixed_s is not None:
            return self._fixed_s
        return max(FLOOR_S, LONGEST_STEPS * max(self._steps_s, default=0.0))

    def work(self, now_s: float) -> None:
        """There is work: from now on a step is due, if none was."""
        if self._since_s is None:
            self._since_s = now_s

    def step(self, now_s: float, more: bool) -> None:
        """A step came; `more`: work is left for another."""
        if self._since_s is not None:
            self._steps_s.append(now_s - self._since_s)
        self._since_s = now_s if more else None

    def pause(self) -> None:
        """No step is due: no work is left, or the engine was told to stand still."""
        self._since_s = None

    def busy(self, now_s: float) -> None:
        """The engine was asked for something that may take long: no step is due before that."""
        self._since_s = now_s + LONG_CALL_S

    def stalled_s(self, now_s: float) -> float | None:
        """How long the due step has not come, where that is too long."""
        if self._since_s is None or now_s - self._since_s <= self.limit_s:
            return None
        return now_s - self._since_s
