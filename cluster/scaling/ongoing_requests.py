"""Ray Serve's default: as many replicas as keep a target number of ongoing requests on each.

After the documentation of `ray.serve.config.AutoscalingConfig` (Ray 2.60), to compare with:

- ongoing requests (running, queued, and waiting at handles), averaged over `look_back_s`;
- desired = requests / target; from the number running, by the factor of the difference, rounded up;
- taken over once desired has been above the target number for `upscale_delay_s`, or below it for
  `downscale_delay_s`; to 0 only from 1; from 0 at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil

from cluster.scaling.decision import ScalingDecision, ScalingReason, bounded
from cluster.scaling.limits import ScalingLimits
from cluster.scaling.signals import Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class OngoingRequestsSettings:
    """Ray's defaults."""

    target_ongoing_requests: float = 2.0
    look_back_s: float = 30.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0


class OngoingRequests:
    """A `cluster.scaling.Scaler`."""

    def __init__(
        self, limits: ScalingLimits, settings: OngoingRequestsSettings | None = None
    ) -> None:
        self._limits = limits
        self._settings = settings or OngoingRequestsSettings()
        self._seen: deque[tuple[float, int]] = deque()
        self._direction = 0
        self._since_s = 0.0

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision:
        requests = self._averaged(signals.ongoing_requests, now_s)
        desired = requests / self._settings.target_ongoing_requests
        running = len(signals.ready)
        if running == 0:
            wanted = max(signals.target, 1 if signals.held_requests else 0)
        else:
            wanted = self._delayed(self._factored(desired, running), signals.target, now_s)
        target, reason = bounded(wanted, ScalingReason.THRESHOLD, self._limits, signals.placeable)
        sentence = f"{requests:.1f} ongoing requests, {desired:.2f} replicas' worth"
        return ScalingDecision(target=target, reason=reason, sentence=sentence, needed=desired)

    def _averaged(self, requests: int, now_s: float) -> float:
        self._seen.append((now_s, requests))
        while self._seen[0][0] < now_s - self._settings.look_back_s:
            self._seen.popleft()
        return sum(number for _at_s, number in self._seen) / len(self._seen)

    def _factored(self, desired: float, running: int) -> int:
        change = desired - running
        settings = self._settings
        factor = settings.upscaling_factor if change > 0 else settings.downscaling_factor
        factored = ceil(running + factor * change)
        if ceil(desired) < running and factored == running:
            factored -= 1  # a small factor would never get below
        return factored

    def _delayed(self, desired: int, target: int, now_s: float) -> int:
        direction = (desired > target) - (desired < target)
        if direction != self._direction:
            self._direction, self._since_s = direction, now_s
        settings = self._settings
        delay_s = settings.upscale_delay_s if direction > 0 else settings.downscale_delay_s
        if direction == 0 or now_s - self._since_s < delay_s:
            return target
        self._direction = 0
        return desired if direction > 0 or target == 1 else max(1, desired)
