"""What a simulated fleet consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.step_time import StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """How large an engine is, and how fast."""

    limits: EngineLimits
    step_time: StepTime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """`engines`: one entry each. `jump` False takes every step by itself, to compare with."""

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
