"""A mean over time that forgets: what was `memory_s` ago counts 1/e of what is now."""

from __future__ import annotations

from math import exp


class FadingMean:
    """From the first value on a mean of what was seen, without a start value that fades in it."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._sum_at_s = 0.0
        self._weight = 0.0

    @property
    def known(self) -> bool:
        return self._weight > 0.0

    @property
    def value(self) -> float:
        """0 before the first."""
        return self._sum / self._weight if self._weight else 0.0

    @property
    def at_s(self) -> float:
        """The mean instant of what is in it: of a line, `value` is what it was then."""
        return self._sum_at_s / self._weight if self._weight else 0.0

    def add(self, value: float, at_s: float, lasted_s: float, memory_s: float) -> None:
        """It was `value` for `lasted_s`, around the instant `at_s`."""
        keep = exp(-lasted_s / memory_s)
        self._sum = keep * self._sum + (1.0 - keep) * value
        self._sum_at_s = keep * self._sum_at_s + (1.0 - keep) * at_s
        self._weight = keep * self._weight + (1.0 - keep)

    def window_s(self, memory_s: float) -> float:
        """So long a plain mean would have to be to be as exact: what it has seen, and in the end
        twice its memory."""
        return 2.0 * memory_s * self._weight / (2.0 - self._weight)
