"""How Serve's controller sizes deployments: its policies' side of the scalers.

Serve asks each policy many times a second, in the controller's own loop. So a policy decides only
every `EVERY_S`, and whatever goes wrong in it leaves the size as it is: an exception would end the
turn of the loop in which Serve looks after everything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cluster.scaling.decision import ScalingDecision
from cluster.spec import GatewayScalingSpec, ScalingSpec, SloSpec
from serve_app.engines_autoscaler import EnginesAutoscaler
from serve_app.gateways_autoscaler import GatewaysAutoscaler
from serve_app.scaling_recorder import ScalingRecorder

logger = logging.getLogger("ray.serve")

EVERY_S = 0.25
COMPLAIN_EVERY_S = 60.0


class Autoscaler(Protocol):
    def decide(self, context: Any, now_s: float) -> ScalingDecision: ...


MakeAutoscaler = Callable[[ScalingRecorder], Autoscaler]
"""Of the deployment's recorder, which knows what was decided before."""


class Paced:
    """A policy: an autoscaler that is asked now and then, and whose decisions are told."""

    def __init__(self, make: MakeAutoscaler) -> None:
        self._make = make
        self._made: tuple[ScalingRecorder, Autoscaler] | None = None
        self._next_s = self._complain_s = float("-inf")

    def target(self, context: Any) -> int:
        """How many replicas Serve is to want."""
        now_s = time.monotonic()
        target: int = context.target_num_replicas
        if now_s < self._next_s:
            return target
        self._next_s = now_s + EVERY_S
        try:
            return self._decide(context, now_s)
        except Exception:
            if now_s >= self._complain_s:
                self._complain_s = now_s + COMPLAIN_EVERY_S
                logger.exception("%s keeps its size of %d", context.deployment_name, target)
            return target

    def _decide(self, context: Any, now_s: float) -> int:
        if self._made is None:
            recorder = ScalingRecorder(context.app_name, context.deployment_name)
            self._made = recorder, self._make(recorder)
        recorder, autoscaler = self._made
        decision = autoscaler.decide(context, now_s)
        before, ready = context.target_num_replicas, len(context.running_replicas)
        recorder.note(before, ready, decision, now_s, time.time())
        return decision.target


def engines(*, model: str, scaling: Mapping[str, Any], slo: Mapping[str, Any], first: int) -> Paced:
    """The policy of a model's engines: its name, `scaling` and `slo` as in the spec, and how many
    there are at first."""
    limits = ScalingSpec.model_validate(scaling).limits
    in_time = SloSpec.model_validate(slo).slo

    def make(recorder: ScalingRecorder) -> Autoscaler:
        is_new = recorder.earlier is None
        return EnginesAutoscaler(
            model=model, limits=limits, slo=in_time, first=first, is_new=is_new
        )

    return Paced(make)


def gateways(*, scaling: Mapping[str, Any] | None) -> Paced:
    """The policy of the gateways; `scaling` as in the spec, None where their number is fixed."""
    limits = None if scaling is None else GatewayScalingSpec.model_validate(scaling).limits
    return Paced(lambda _recorder: GatewaysAutoscaler(limits))
