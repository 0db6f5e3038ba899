"""What a simulated fleet consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.scaling.limits import Slo
from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.step_time import StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """How large an engine is, and how fast."""

    limits: EngineLimits
    step_time: StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """`engines`: one entry each; those of an elastic fleet that come later repeat them in turn.
    `jump` False takes every step by itself, to compare with."""

    engines: Sequence[EngineKind]
    gateways: int = 2
    report_every_s: float = 0.25
    delay_s: float = 0.002
    jump: bool = True

    def __post_init__(self) -> None:
        for name, size in (("engines", len(self.engines)), ("gateways", self.gateways)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if not self.report_every_s > 0:
            raise ValueError(f"report_every_s must be above 0, not {self.report_every_s}")
        if not self.delay_s >= 0:
            raise ValueError(f"delay_s must be at least 0, not {self.delay_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """What makes a fleet elastic: how long an engine takes from the decision until it is ready, and
    how often its scaler is asked. `slo`: what the gateways count as in time."""

    slo: Slo
    cold_start_s: float = 60.0
    every_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.cold_start_s >= 0:
            raise ValueError(f"cold_start_s must be at least 0, not {self.cold_start_s}")
        if not self.every_s > 0:
            raise ValueError(f"every_s must be above 0, not {self.every_s}")
