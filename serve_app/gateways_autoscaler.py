"""The adapter between Serve and the scaler of the gateways; and what they say of their models goes
from here to the scalers of the engines (`scaling_board`), so it is asked where their number is
fixed too.
"""

from __future__ import annotations

from typing import Any

from cluster.scaling.decision import ScalingDecision, ScalingReason
from cluster.scaling.gateway_scaler import GatewayScaler
from cluster.scaling.limits import ScalingLimits
from serve_app import scaling_board
from serve_app.scaling_context import Newest
from serve_app.scaling_stats import gateway_said


class GatewaysAutoscaler:
    """`limits` None: their number is fixed."""

    def __init__(self, limits: ScalingLimits | None) -> None:
        self._newest = Newest()
        self._scaler = None if limits is None else GatewayScaler(limits)

    def decide(self, context: Any, now_s: float) -> ScalingDecision:
        """`now_s`: monotonic."""
        said = {
            name: stats
            for name, raw in self._newest.of(context, now_s).items()
            if (stats := gateway_said(name, raw)) is not None
        }
        scaling_board.post(context.app_name, said, now_s)
        target = context.target_num_replicas
        if self._scaler is None:
            return ScalingDecision(
                target=target, reason=ScalingReason.FIXED, sentence=f"always {target}"
            )
        if not said:
            return ScalingDecision(
                target=target,
                reason=ScalingReason.BLIND,
                sentence=f"{target} gateways: none has said anything yet",
            )
        return self._scaler.decide([stats.load for stats in said.values()], target, now_s)
