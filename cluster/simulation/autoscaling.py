"""The adapter between the simulated fleet and the live cluster's scaler: signals in, engines out.

As on Ray Serve, the scaler is asked every `every_s`. Which engine goes is `victims`' choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.scaling import Scaler
from cluster.scaling.signals import EngineState, Signals
from cluster.scaling.victims import victims
from cluster.simulation.events import LOOK, EventQueue
from cluster.simulation.fleet_plan import Elasticity
from cluster.simulation.gateway import Gateway
from cluster.simulation.records import Decided
from cluster.simulation.replicas import Replicas


class Autoscaling:
    def __init__(
        self,
        scaler: Scaler,
        elasticity: Elasticity,
        replicas: Replicas,
        gateways: Sequence[Gateway],
        queue: EventQueue,
    ) -> None:
        self._scaler = scaler
        self._elasticity = elasticity
        self._replicas = replicas
        self._gateways = gateways
        self._queue = queue
        self.decided: list[Decided] = []

    def look(self) -> None:
        """Asks the scaler now and every `every_s` from now on."""
        now_s = self._queue.now_s
        self._replicas.sync()
        engines = [replica.signals() for replica in self._replicas.here]
        wanted = sum(engine.state is not EngineState.DRAINING for engine in engines)
        signals = Signals(
            engines=engines,
            gateways=[
                gateway.counts.signals(f"gateway-{turn}", gateway.held_requests)
                for turn, gateway in enumerate(self._gateways)
            ],
            target=wanted,
        )
        decision = self._scaler.decide(signals, now_s)
        if decision.target != wanted or not self.decided:
            self.decided.append(Decided(at_s=now_s, engines=wanted, decision=decision))
        for _ in range(decision.target - wanted):
            self._replicas.start(self._elasticity.cold_start_s)
        if decision.target < wanted:
            for engine in victims(engines)[: wanted - decision.target]:
                self._replicas.stop(engine.id)
        self._queue.at(now_s + self._elasticity.every_s, LOOK, self.look)
