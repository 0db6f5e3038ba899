"""Up at once, down late: what is needed, as a whole number that does not go to and fro.

Up to `needed`, rounded up. Down only to what was enough all through a window, with
`HYSTERESIS_FRAC` to spare. An engine that is given up and wanted again costs a cold start of its
own time, and the SLO while it is missed, so it is kept about as long (ski rental): `WINDOW_STARTS`
cold starts. Where that was regretted, since more were wanted again within `REGRET_WINDOWS` of them,
the next window is twice as long, up to `MOST_WINDOW_STARTS`; where it was not, half as long. So
bursts, and loads that come and go, find engines there, and one that falls for good is followed.
"""

from __future__ import annotations

from collections import deque
from math import ceil

WINDOW_STARTS, MOST_WINDOW_STARTS = 2.0, 32.0
REGRET_WINDOWS = 6.0
CHANGE = 2.0
HYSTERESIS_FRAC = 0.05
"""What varies less than this about a whole number changes nothing."""

_ROUNDING = 1e-9


class Stabilized:
    def __init__(self) -> None:
        self._since_s: float | None = None
        self._window_starts = WINDOW_STARTS
        self._gave_up_at_s: float | None = None  # the last time that, where it is not judged yet
        self._peaks: deque[tuple[float, float]] = deque()  # instant, needed; falling

    def engines(
        self, needed: float, target: int, now_s: float, cold_start_s: float
    ) -> tuple[int, float]:
        """How many there are to be where `target` are asked for now, and in how many seconds, at
        the earliest, it can be fewer (0 where not for want of time)."""
        if self._since_s is None:
            self._since_s = now_s
        window_s = self._window_starts * cold_start_s
        self._judge(now_s, window_s)
        peak = self._peak(needed, now_s, window_s)
        up = ceil(needed - _ROUNDING)
        if up > target:
            self._regret()
        if up >= target:
            return up, 0.0
        wait_s = self._since_s + window_s - now_s
        enough = ceil(peak * (1.0 + HYSTERESIS_FRAC) - _ROUNDING)
        if enough < target and wait_s <= 0.0:
            self._gave_up_at_s = now_s
            return enough, 0.0
        return target, max(wait_s, self._peaks[0][0] + window_s - now_s)

    def _judge(self, now_s: float, window_s: float) -> None:
        """What was given up so long ago was not missed."""
        if self._gave_up_at_s is None or now_s - self._gave_up_at_s <= REGRET_WINDOWS * window_s:
            return
        self._gave_up_at_s = None
        self._window_starts = max(WINDOW_STARTS, self._window_starts / CHANGE)

    def _regret(self) -> None:
        if self._gave_up_at_s is not None:
            self._gave_up_at_s = None
            self._window_starts = min(MOST_WINDOW_STARTS, self._window_starts * CHANGE)

    def _peak(self, needed: float, now_s: float, window_s: float) -> float:
        """The most that was needed in the window; what came later and was more hides the rest."""
        while self._peaks and self._peaks[-1][1] <= needed:
            self._peaks.pop()
        self._peaks.append((now_s, needed))
        while self._peaks[0][0] < now_s - window_s:
            self._peaks.popleft()
        return self._peaks[0][1]
