"""How many engines a model needs: signals in, a number and its reason out.

    signals         what is known at one instant; `decision`: the answer; `limits`: its bounds
    slo_scaler      the scaler that is meant to be used: by measured rates, for the SLO
      counting        what gateways counted since the last look
      offered_load    what is offered: level, trend, bursts, and how well it is foreseen
      capacity        engines for a load at the SLO, by what their steps cost
      cold_start      how long an engine takes to come, learnt
      stabilized      up at once, down late, and not to and fro
      attainment      a correction, where the SLO is missed all the same
    ongoing_requests, ttft_threshold, fixed    what it is compared with; `policies`: all by name
    victims         which engine goes first
    gateway_scaler  how many gateways

A scaler belongs to one model. It keeps its own state, and nothing of it is lost that is not learnt
again: one that starts anew in the middle of a load holds the size until it has seen it for a while.
"""

from __future__ import annotations

from typing import Protocol

from cluster.scaling.decision import ScalingDecision
from cluster.scaling.signals import Signals


class Scaler(Protocol):
    """Contract: called every 0.1 to 10 s, with `now_s` rising, from a monotone clock. The target is
    what should be asked for now, and is expected to be `signals.target` at the next call (where it
    is not, the scaler takes that as given). Nothing is raised for any signals."""

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision: ...
