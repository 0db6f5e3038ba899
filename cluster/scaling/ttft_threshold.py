"""One engine more while the TTFT is above a threshold, one fewer while it is well below.

What is built on a metrics server by hand, to compare with: the mean TTFT over a window against
fractions of the SLO's, with a pause after each step up for the engine to come.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cluster.scaling.counting import Counted, Counting
from cluster.scaling.decision import ScalingDecision, ScalingReason, bounded
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.signals import Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class TtftThresholdSettings:
    """More above `above_frac` of the SLO's TTFT, fewer once it is below `below_frac` for
    `downscale_delay_s`. Steps up are `upscale_pause_s` apart."""

    above_frac: float = 0.5
    below_frac: float = 0.25
    look_back_s: float = 30.0
    upscale_pause_s: float = 60.0
    downscale_delay_s: float = 300.0


class TtftThreshold:
    """A `cluster.scaling.Scaler`."""

    def __init__(
        self, limits: ScalingLimits, slo: Slo, settings: TtftThresholdSettings | None = None
    ) -> None:
        self._limits = limits
        self._slo = slo
        self._settings = settings or TtftThresholdSettings()
        self._counting = Counting()
        self._seen: deque[tuple[float, Counted]] = deque()
        self._up_at_s = float("-inf")
        self._low_since_s: float | None = None

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision:
        mean_s = self._mean_ttft_s(signals, now_s)
        step = self._step(mean_s, signals, now_s)
        target, reason = bounded(
            signals.target + step, ScalingReason.THRESHOLD, self._limits, signals.placeable
        )
        return ScalingDecision(
            target=target,
            reason=reason,
            sentence="no first token" if mean_s is None else f"TTFT of {mean_s:.3f} s",
        )

    def _mean_ttft_s(self, signals: Signals, now_s: float) -> float | None:
        self._seen.append((now_s, self._counting.since_last(signals.gateways)))
        while self._seen[0][0] < now_s - self._settings.look_back_s:
            self._seen.popleft()
        total = sum(counted.ttft_total for _at_s, counted in self._seen)
        sum_s = sum(counted.ttft_sum_s for _at_s, counted in self._seen)
        return sum_s / total if total else None

    def _step(self, mean_s: float | None, signals: Signals, now_s: float) -> int:
        ttft_s, settings = self._slo.ttft_s, self._settings
        if mean_s is None:
            # Nothing to go by: one for a request that waits, otherwise as if it were low.
            high, low = signals.ongoing_requests > 0, signals.ongoing_requests == 0
        else:
            high, low = mean_s > settings.above_frac * ttft_s, mean_s < settings.below_frac * ttft_s
        if not low:
            self._low_since_s = None
        elif self._low_since_s is None:
            self._low_since_s = now_s
        if high and now_s - self._up_at_s >= settings.upscale_pause_s:
            self._up_at_s = now_s
            return 1
        if self._low_since_s is None or now_s - self._low_since_s < settings.downscale_delay_s:
            return 0
        self._low_since_s = now_s
        return (
            -1 if signals.target > max(1, self._limits.least) or not signals.ongoing_requests else 0
        )
