"""Whether an engine's step is overdue: where it has work, and nothing else that keeps it from it.

Neither is it while the core is busy with a utility call, nor while an operator has it stand still.
"""

from __future__ import annotations

from typing import Any

from cluster.stall import StepClock


class StallWatch:
    """Tells `clock` of what an engine host sees. All times are monotonic seconds."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock
        self._calls = 0  # utility calls the core is busy with
        self._paused: set[str] = set()  # what an operator stopped the scheduler by

    @property
    def _may_step(self) -> bool:
        return not self._calls and not self._paused

    def work(self, now_s: float) -> None:
        """There is work."""
        if self._may_step:
            self._clock.work(now_s)

    def no_work(self) -> None:
        """There is none any more."""
        self._clock.pause()

    def step(self, now_s: float, *, more: bool) -> None:
        """A step came; `more`: work is left for another."""
        if self._may_step:
            self._clock.step(now_s, more=more)

    def call_begins(self) -> None:
        """The core is asked for something else than a step."""
        self._calls += 1
        self._clock.pause()

    def call_ends(self) -> None:
        """It has answered; say `work` again where there is some."""
        self._calls -= 1

    def answered(self, method: str, answer: Any) -> None:
        """A call of this method succeeded: it may have stopped the scheduler, or let it go on."""
        if method in ("sleep", "pause_scheduler"):
            self._paused.add(method)
        elif method == "resume_scheduler":
            self._paused.discard("pause_scheduler")
        elif method == "wake_up" and answer is not False:  # False: in part only
            self._paused.clear()

    def stalled_s(self, now_s: float) -> float | None:
        """How long the due step has not come, where that is too long."""
        return self._clock.stalled_s(now_s)
