"""A correction for what the rates do not say: the SLO is missed though by them it should be met.

Requests are counted while all engines that are wanted are up. Once so many of them have missed
the SLO that it is no chance, the load counts as more by one engine's share, and counting begins
anew. It fades over many cold starts, since the next look for its end is by missing the SLO again.
It is bounded: what a third more engines do not cure (prompts too long for their TTFT) is no lack
of engines.
"""

from __future__ import annotations

from math import exp, sqrt

from cluster.scaling.counting import Counted
from cluster.scaling.limits import Slo

MOST = 1.33
FADES_STARTS = 60.0
SURE = 3.0
"""Standard deviations of the number that may miss the SLO."""

LEAST_MISSES = 5.0


class Attainment:
    def __init__(self, slo: Slo) -> None:
        self._miss_frac = 1.0 - slo.attainment_frac
        self._excess = 0.0
        self._requests = 0.0
        self._missed = 0.0

    @property
    def factor(self) -> float:
        """By which the load counts as more, 1 to `MOST`."""
        return 1.0 + self._excess

    def observe(self, counted: Counted, engines: int, *, all_up: bool) -> bool:
        """Whether the factor rose just now. `engines`: how many are ready."""
        if not all_up:
            self._forget()
            return False
        self._requests += counted.ttft_total
        self._missed += counted.ttft_total - counted.ttft_good
        self._missed += counted.tpot_total - counted.tpot_good
        likely = self._miss_frac * self._requests
        if self._missed < max(LEAST_MISSES, likely + SURE * sqrt(likely)):
            return False
        self._forget()
        before = self._excess
        self._excess = min(MOST - 1.0, self._excess + 1.0 / max(1, engines))
        return self._excess > before

    def fade(self, lasted_s: float, cold_start_s: float) -> None:
        self._excess *= exp(-lasted_s / (FADES_STARTS * cold_start_s))

    def _forget(self) -> None:
        self._requests = self._missed = 0.0
