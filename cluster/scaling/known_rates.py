"""What the engines' steps cost, over all of them and over time, and what their KV caches hold."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from cluster.scaling.fading_mean import FadingMean
from cluster.scaling.signals import EngineSignals
from cluster.types import StepCost


class KnownRates:
    """The mean engine. What was known once stays known when no engine is there to tell."""

    def __init__(self) -> None:
        self._base_s = FadingMean()
        self._prefill_token_s = FadingMean()
        self._decode_request_s = FadingMean()
        self.kv_tokens = 0

    @property
    def cost(self) -> StepCost | None:
        if not self._base_s.known:
            return None
        return StepCost(
            base_s=self._base_s.value,
            prefill_token_s=self._prefill_token_s.value,
            decode_request_s=self._decode_request_s.value,
        )

    def observe(
        self, engines: Sequence[EngineSignals], now_s: float, lasted_s: float, memory_s: float
    ) -> None:
        """Each learns its own from its last few hundred steps; over `memory_s` their noise goes."""
        sizes = [engine.kv_total_tokens for engine in engines if engine.kv_total_tokens]
        if sizes:
            self.kv_tokens = sum(sizes) // len(sizes)
        costs = [engine.step_cost for engine in engines if engine.step_cost is not None]
        if not costs:
            return
        for mean, values in (
            (self._base_s, [cost.base_s for cost in costs]),
            (self._prefill_token_s, [cost.prefill_token_s for cost in costs]),
            (self._decode_request_s, [cost.decode_request_s for cost in costs]),
        ):
            mean.add(fsum(values) / len(values), now_s, lasted_s, memory_s)
