"""A sum that forgets: what was added `time_constant_s` ago counts 1/e of what is added now."""

from __future__ import annotations

from math import exp


class DecayingSum:
    def __init__(self, *, time_constant_s: float, now_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._sum, self._at_s = 0.0, now_s

    def add(self, amount: float, now_s: float) -> None:
        self._sum = self.value(now_s) + amount
        self._at_s = max(now_s, self._at_s)

    def value(self, now_s: float) -> float:
        return self._sum * exp(-max(0.0, now_s - self._at_s) / self._time_constant_s)

    def per_s(self, now_s: float) -> float:
        """The rate at which it is added to: exact, on average, where that is steady."""
        return self.value(now_s) / self._time_constant_s
