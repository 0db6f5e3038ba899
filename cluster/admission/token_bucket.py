"""A token bucket: so much at once, so much a second, and the exact wait for what is not there yet.

Over any span of t seconds it lets `burst + per_s * t` through, and at most one amount above `burst`
more: an amount that the full bucket cannot hold passes when the bucket is full, and is paid back
afterwards (the level falls below 0). Otherwise it could never pass, though it is within the limit
of which this bucket may be a share.

Nothing changes by asking, so that asking often adds no rounding errors.
"""

from __future__ import annotations

from math import inf

ROUNDING_FRAC = 1e-9
"""Of the burst: what floats may lack of a level that is reached exactly when it was promised."""


class TokenBucket:
    """Full at first. Times may not be NaN; one before the last counts as the last."""

    def __init__(self, *, per_s: float, burst: float, now_s: float) -> None:
        _check(per_s, burst)
        self._per_s, self._burst = per_s, burst
        self._level, self._at_s = burst, now_s

    def level(self, now_s: float) -> float:
        """What can be taken at once; below 0 while something is paid back."""
        filled = self._level + max(0.0, now_s - self._at_s) * self._per_s
        return min(self._burst, filled)

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` may be taken, if nothing is taken before: 0 for now."""
        lacking = min(amount, self._burst) - self.level(now_s)
        if lacking <= ROUNDING_FRAC * self._burst:
            return 0.0
        return lacking / self._per_s if self._per_s > 0.0 else inf

    def take(self, amount: float, now_s: float) -> None:
        """Whether or not it is there: who should wait has asked `wait_s`."""
        self._set(self.level(now_s) - amount, now_s)

    def give_back(self, amount: float, now_s: float) -> None:
        """What was taken and not used."""
        self._set(min(self._burst, self.level(now_s) + amount), now_s)

    def resize(self, *, per_s: float, burst: float, now_s: float) -> None:
        """From now on. The level stays, within the new burst: a change gives nothing away."""
        _check(per_s, burst)
        level = self.level(now_s)
        self._per_s, self._burst = per_s, burst
        self._set(min(burst, level), now_s)

    def _set(self, level: float, now_s: float) -> None:
        self._level, self._at_s = level, max(now_s, self._at_s)


def _check(per_s: float, burst: float) -> None:
    if not 0.0 <= per_s < inf or not 0.0 <= burst < inf:
        raise ValueError(f"a bucket of {burst} with {per_s}/s: both must be finite, and 0 or more")
