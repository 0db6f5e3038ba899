"""Whether an engine's next sign of life is overdue: a step where requests run, an answer where it
was asked something.

No step is due while the core is busy with a call that may take long, nor while an operator has it
stand still; an answer to a quick call always is.
"""

from __future__ import annotations

from typing import Any

from cluster.stall import StepClock
from serve_app.utilities import rule_of


class StallWatch:
    """Tells `clock` of what an engine host sees. All times are monotonic seconds.

    `calls` is how many utility calls the core has not answered.
    """

    def __init__(self, clock: StepClock) -> None:
        self.calls = 0
        self._clock = clock
        self._long_calls = 0  # of them, those that are not quick
        self._has_work = False
        self._paused: set[str] = set()  # what an operator stopped the scheduler by

    @property
    def _may_step(self) -> bool:
        return not self._long_calls and not self._paused

    def work(self, now_s: float) -> None:
        """There is work."""
        self._has_work = True
        self._expect(now_s)

    def _expect(self, now_s: float) -> None:
        if self.calls or (self._has_work and self._may_step):
            self._clock.work(now_s)

    def no_work(self) -> None:
        """There is none any more."""
        self._has_work = False
        if not self.calls:
            self._clock.pause()

    def step(self, now_s: float, *, more: bool) -> None:
        """A step came; `more`: work is left for another."""
        self._has_work = more
        if self._may_step:
            self._clock.step(now_s, more=more or bool(self.calls))

    def call_begins(self, method: str, now_s: float) -> None:
        """The core is asked for something else than a step."""
        is_long = not rule_of(method).is_quick
        self.calls += 1
        self._long_calls += is_long
        if is_long and self._long_calls == 1:
            self._clock.busy(now_s)
        self._expect(now_s)

    def call_ends(self, method: str, now_s: float) -> None:
        """It has answered."""
        self.calls -= 1
        self._long_calls -= not rule_of(method).is_quick
        if not self._long_calls:
            self._clock.pause()
            self._expect(now_s)

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
