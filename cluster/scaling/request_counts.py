"""What a gateway has counted of one model's requests, for the scaler (`GatewaySignals`).

A live gateway's switch counts, on its own thread, and so does a simulated gateway. Who reports may
read from another thread: the numbers only grow, so what is read while one is added to is of a
moment ago, and the rest comes with the next report.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.scaling.counting import COUNTERS
from cluster.scaling.limits import Slo
from cluster.scaling.signals import GatewaySignals


@dataclass(slots=True)
class RequestCounts:
    """Since the gateway started. `slo` says what is in time."""

    slo: Slo
    requests: int = 0
    prompt_tokens: int = 0
    uncached_prompt_tokens: int = 0
    answered_requests: int = 0
    output_tokens: int = 0
    ttft_total: int = 0
    ttft_good: int = 0
    ttft_sum_s: float = 0.0
    tpot_total: int = 0
    tpot_good: int = 0

    def arrived(self, prompt_tokens: int) -> None:
        """A request has come, whether an engine is there or not."""
        self.requests += 1
        self.prompt_tokens += prompt_tokens

    def sent(self, uncached_prompt_tokens: int) -> None:
        """It goes to its first engine, which holds all but so many of its prompt's tokens."""
        self.uncached_prompt_tokens += uncached_prompt_tokens

    def began(self, ttft_s: float) -> None:
        """Its first token is there, or, of what has none, its answer."""
        self.ttft_total += 1
        self.ttft_good += ttft_s <= self.slo.ttft_s
        self.ttft_sum_s += ttft_s

    def ended(self, output_tokens: int, decode_s: float) -> None:
        """It is over, `decode_s` after it began: finished, or its client wants no more of it."""
        self.answered_requests += 1
        self.output_tokens += output_tokens
        if output_tokens >= 2:
            self.tpot_total += 1
            self.tpot_good += decode_s <= self.slo.tpot_s * (output_tokens - 1)

    def failed(self) -> None:
        """It ended without a token, and not because its client left."""
        self.ttft_total += 1

    def signals(self, gateway: str, held_requests: int, *more: RequestCounts) -> GatewaySignals:
        """As the scaler takes them, together with what was counted elsewhere in the gateway; so
        many requests wait for an engine now."""
        every = (self, *more)
        counted = {name: sum(getattr(each, name) for each in every) for name in COUNTERS}
        return GatewaySignals(id=gateway, held_requests=held_requests, **counted)
