"""Until `cluster.routing.step_cost` is there."""

from cluster.types import StepCost


class StepCostLearner:
    cost: StepCost | None = None

    def observe(self, prefill_tokens: int, decode_requests: int, step_s: float) -> None:
        """Learns nothing."""
