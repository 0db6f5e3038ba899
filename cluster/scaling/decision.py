"""What a scaler answers: how many engines, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cluster.scaling.limits import ScalingLimits


class ScalingReason(StrEnum):
    """Why there are to be so many engines."""

    STEADY = "steady"  # as many as are needed
    LOAD = "load"  # more, for what is offered and what may come until they are up
    BACKLOG = "backlog"  # more: what is queued cannot be worked off in time
    SLO_MISSED = "slo_missed"  # more: the SLO is missed though the rates say that it is met
    HELD = "held"  # the first, for a request that waits
    QUEUED = "queued"  # more: requests wait in engines whose rates are not known yet
    UNMEASURED = "unmeasured"  # as many as there are, until the engines' rates are known
    SURPLUS = "surplus"  # fewer
    COOLING = "cooling"  # fewer would do, if that lasts
    IDLE = "idle"  # none: nobody has asked for a while
    AT_LEAST = "at_least"  # the lower bound
    AT_MOST = "at_most"  # more are needed than the upper bound allows
    NO_ROOM = "no_room"  # more are needed than the cluster can place
    THRESHOLD = "threshold"  # a simpler policy's number is over or under its threshold
    FIXED = "fixed"  # always as many
    FIRST = "first"  # from whose engine gateways learn what they serve
    BLIND = "blind"  # as many as there are: no gateway says what is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingDecision:
    """`target` engines. `needed`: by the load, and to stand by, before bounds and rounding; None
    where the policy does not know. `cold_start_s`: what an engine's start is taken to last."""

    target: int
    reason: ScalingReason
    sentence: str
    needed: float | None = None
    cold_start_s: float | None = None


def bounded(
    wanted: int, reason: ScalingReason, limits: ScalingLimits, placeable: int | None
) -> tuple[int, ScalingReason]:
    """`wanted`, or the bound that it is beyond. Room counts last: what does not fit cannot run,
    also below `least`."""
    if wanted > limits.most:
        wanted, reason = limits.most, ScalingReason.AT_MOST
    elif wanted < limits.least:
        wanted, reason = limits.least, ScalingReason.AT_LEAST
    if placeable is not None and wanted > placeable:
        wanted, reason = placeable, ScalingReason.NO_ROOM
    return wanted, reason
