"""A fixed number of engines: what `replicas` says, and what scalers are compared with."""

from __future__ import annotations

from cluster.scaling.decision import ScalingDecision, ScalingReason
from cluster.scaling.signals import Signals


class Fixed:
    """A `cluster.scaling.Scaler` that always wants `engines`."""

    def __init__(self, engines: int) -> None:
        self._engines = engines

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision:
        return ScalingDecision(
            target=self._engines, reason=ScalingReason.FIXED, sentence=f"always {self._engines}"
        )
