"""The adapter between Serve and the scaler of one model's engines: signals in, a decision out.

Beside what the scaler decides:

- A model is deployed with its first engines, though none may be needed: gateways learn from an
  engine what they serve, once. Later none may stay; a request then wakes one.
- Where no gateway is heard of, nothing is decided: that nobody asks would be a guess.
- From several engines none is reached by way of one: Serve stops the last by itself.

Which engine goes where there are to be fewer is Serve's to say: in 2.60 nothing public lets a
policy name one. It takes those that have not started yet, then the newest, of the nodes with the
fewest replicas and not of the head node. `cluster.scaling.victims` would take what has least to
lose; the streams of the one that goes are moved, whichever it is.

How many engines the cluster has room for is not known here: a cluster that scales its nodes has
room for what is asked, another leaves what is too much pending.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cluster.scaling.cold_start import DEFAULT_S
from cluster.scaling.decision import ScalingDecision, ScalingReason
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.signals import EngineSignals, EngineState, Signals
from cluster.scaling.slo_scaler import SloScaler
from cluster.types import ReplicaId
from serve_app import engine_starts, scaling_board
from serve_app.scaling_context import Newest
from serve_app.scaling_stats import ModelStats, engine_signals

logger = logging.getLogger("ray.serve")

BLIND_WARN_S = 60.0
"""Gateways that start are silent for about half a minute; after longer something is wrong."""


class EnginesAutoscaler:
    """Of one model; `first` engines at its first deploy. Made anew with every deploy and every
    controller; `is_new` says whether there was none before."""

    def __init__(
        self, *, model: str, limits: ScalingLimits, slo: Slo, first: int, is_new: bool
    ) -> None:
        self._model, self._limits, self._slo = model, limits, slo
        self._first = first if is_new else 0
        self._newest = Newest()
        self._scaler: SloScaler | None = None
        self._heard_at_s: float | None = None

    def decide(self, context: Any, now_s: float) -> ScalingDecision:
        """`now_s`: monotonic. Raises what the store raises."""
        target = context.target_num_replicas
        if target < self._first:
            target, self._first = self._first, 0
            return _first(target, "gateways learn from an engine what they serve")
        self._first = 0
        gateways = self._gateways(context.app_name, now_s)
        if not gateways:
            return ScalingDecision(
                target=target,
                reason=ScalingReason.BLIND,
                sentence=f"{target} engines: no gateway says what is asked for",
            )
        engines = self._engines(context, now_s)
        if target == 0 and not any(gateway.built for gateway in gateways.values()):
            return _first(1, "no gateway has met an engine yet")
        scaler = self._ready_scaler(context, target)
        if scaler is None:
            return _first(target, "none has been up yet")
        said = [gateway.signals for gateway in gateways.values()]
        signals = Signals(engines=engines, gateways=said, target=target)
        return self._last_steps(scaler.decide(signals, now_s), target, gateways)

    def _gateways(self, app: str, now_s: float) -> Mapping[str, ModelStats]:
        """What gateways say of this model."""
        found = {
            name: stats.models[self._model]
            for name, stats in scaling_board.gateways(app, now_s).items()
            if self._model in stats.models
        }
        if found or self._heard_at_s is None:
            self._heard_at_s = now_s
        elif now_s - self._heard_at_s >= BLIND_WARN_S:
            self._heard_at_s = now_s  # and again after as long
            logger.error(
                "no gateway has said anything of model %s for %g s, so its engines stay as many as "
                "they are: is the Gateway deployment's autoscaling policy called?",
                *(self._model, BLIND_WARN_S),
            )
        return found

    def _engines(self, context: Any, now_s: float) -> list[EngineSignals]:
        """Those that serve, and those that are still to come."""
        ready = [
            engine_signals(name, stats) for name, stats in self._newest.of(context, now_s).items()
        ]
        missing = context.target_num_replicas - len(context.running_replicas)
        return ready + [
            EngineSignals(id=ReplicaId(f"to come {number}"), state=EngineState.STARTING)
            for number in range(missing)
        ]

    def _ready_scaler(self, context: Any, target: int) -> SloScaler | None:
        """The scaler, once it is known, or cannot be, what an engine's start takes."""
        if self._scaler is None:
            start_s = engine_starts.start_s(context.app_name, context.deployment_name)
            if start_s is None and target and not context.running_replicas:
                return None
            self._scaler = SloScaler(self._limits, self._slo, start_s or DEFAULT_S)
        return self._scaler

    def _last_steps(
        self, decision: ScalingDecision, target: int, gateways: Mapping[str, ModelStats]
    ) -> ScalingDecision:
        """What is between a decision for none and there being none."""
        if decision.target > 0 or target == 0:
            return decision
        if not all(gateway.built for gateway in gateways.values()):
            return _first(1, "a gateway has not met one yet")
        return replace(decision, target=1) if target > 1 else decision


def _first(target: int, why: str) -> ScalingDecision:
    return ScalingDecision(
        target=target, reason=ScalingReason.FIRST, sentence=f"{target} engines: {why}"
    )
