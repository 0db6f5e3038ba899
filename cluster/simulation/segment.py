"""Equal steps of an engine, taken at once: when the j-th of them ends.

While a batch only decodes, every step reads one more token of context for each request. A step's
time is then piecewise linear (see `StepTime`), and over one piece

    after(j) = start_s + j * first_s + j (j - 1) / 2 * growth_s

which is exact but for rounding.
"""

from __future__ import annotations

from cluster.simulation.step_time import StepTime, StepWork

_SAME = 1e-9
"""Relative; two floats of one piece differ by rounding only, two pieces by much more."""


class Segment:
    """`steps` steps from `start_s` on; `work` is what the first of them does."""

    def __init__(self, step_time: StepTime, work: StepWork, most_steps: int, start_s: float):
        self.start_s = start_s
        self.work = work
        self.first_s = step_time.step_s(work)
        assert self.first_s > 0, f"a step that takes no time: {work}"
        self.steps, self._growth_s = _piece(step_time, work, self.first_s, most_steps)

    @property
    def end_s(self) -> float:
        return self.after_s(self.steps)

    def after_s(self, steps: int) -> float:
        """When so many of the steps are over."""
        return self.start_s + steps * self.first_s + steps * (steps - 1) / 2 * self._growth_s

    def over_by(self, now_s: float) -> int:
        """How many of the steps are over at `now_s`."""
        low, high = 0, self.steps
        while low < high:
            middle = (low + high + 1) // 2
            if self.after_s(middle) <= now_s:
                low = middle
            else:
                high = middle - 1
        return low

    def cut(self, now_s: float) -> None:
        """Ends with the step that is under way at `now_s`."""
        over = self.over_by(now_s)
        if over == 0 or self.after_s(over) < now_s:
            over += 1
        self.steps = min(self.steps, over)

    def drop(self, steps: int) -> None:
        """The first `steps`, fewer than all, are no longer part of it."""
        assert steps < self.steps
        self.start_s = self.after_s(steps)
        self.first_s += steps * self._growth_s
        self.steps -= steps
        self.work = later(self.work, steps)


def later(work: StepWork, steps: int) -> StepWork:
    """The step that comes `steps` steps after this one, which only decodes."""
    return work._replace(context_tokens=work.context_tokens + steps * work.decode_requests)


def _piece(
    step_time: StepTime, work: StepWork, first_s: float, most_steps: int
) -> tuple[int, float]:
    """How many of the next steps lie on one line, and by how much each is longer than the last."""
    steps = most_steps
    while steps > 2:
        last_s = step_time.step_s(later(work, steps - 1))
        middle = (steps - 1) // 2
        on_line_s = first_s + (last_s - first_s) * middle / (steps - 1)
        middle_s = step_time.step_s(later(work, middle))
        if abs(middle_s - on_line_s) <= _SAME * middle_s:
            return steps, (last_s - first_s) / (steps - 1)
        steps = middle + 1
    if steps < 2:
        return 1, 0.0
    return 2, step_time.step_s(later(work, 1)) - first_s
