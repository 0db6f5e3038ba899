"""How many gateways: by the lag of their event loops and their streams.

A gateway is one event loop, at about 90 us of CPU a token, so what it can bear is a number of
streams. What it does bear shows in the lag of its loop. Streams stay where they are, and new ones
go to the gateway with the fewest, so the least lag of all is the one that tells of room: the others
may have been full before the last gateway came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.scaling.decision import ScalingDecision, ScalingReason, bounded
from cluster.scaling.limits import ScalingLimits
from cluster.scaling.stabilized import Stabilized

STREAMS = 600
"""On one gateway: at 90 us a token and 15 tokens/s each, 0.8 of a core."""

LAG_S = 0.05
"""A token that is late by more is seen as a stutter: half the default TPOT."""

EASY_FRAC = 0.25
"""Of that lag: below it there may be a gateway too many."""

COLD_START_S = 30.0
"""Of a gateway: its imports, and a tokenizer for each model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """`loop_lag_s`: how late its event loop runs what is due, lately; None where that is not known
    yet."""

    streams: int
    loop_lag_s: float | None = None


class GatewayScaler:
    """At least one gateway: `limits.least` of 0 counts as 1."""

    def __init__(self, limits: ScalingLimits, cold_start_s: float = COLD_START_S) -> None:
        self._limits = limits
        self._cold_start_s = cold_start_s
        self._stabilized = Stabilized()

    def decide(
        self,
        gateways: Sequence[GatewayLoad],
        target: int,
        now_s: float,
        placeable: int | None = None,
    ) -> ScalingDecision:
        """`gateways` that are ready, of `target` asked for last."""
        streams = sum(gateway.streams for gateway in gateways)
        lags_s = [g.loop_lag_s for g in gateways if g.loop_lag_s is not None]
        lag_s = min(lags_s, default=0.0)
        needed = max(streams / STREAMS, self._by_lag(lag_s, len(gateways), target))
        enough, _wait_s = self._stabilized.engines(needed, target, now_s, self._cold_start_s)
        wanted = max(1, enough)
        target_now, reason = bounded(wanted, _reason(wanted, target), self._limits, placeable)
        return ScalingDecision(
            target=target_now,
            reason=reason,
            sentence=f"{streams} streams, the least event-loop lag is {lag_s * 1e3:.0f} ms",
            needed=needed,
        )

    def _by_lag(self, lag_s: float, ready: int, target: int) -> float:
        if lag_s > LAG_S and ready >= target:
            return target + 1.0
        return float(target) if lag_s > EASY_FRAC * LAG_S else 0.0


def _reason(wanted: int, target: int) -> ScalingReason:
    if wanted > target:
        return ScalingReason.LOAD
    return ScalingReason.SURPLUS if wanted < target else ScalingReason.STEADY
