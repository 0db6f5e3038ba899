"""What one simulated gateway counts for the scaler; see `GatewaySignals`."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.scaling.limits import Slo
from cluster.scaling.signals import GatewaySignals
from cluster.simulation.records import Record


@dataclass(slots=True)
class GatewayCounts:
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
    held_requests: int = 0

    def arrived(self, prompt_tokens: int, cached_tokens: int) -> None:
        self.requests += 1
        self.prompt_tokens += prompt_tokens
        self.uncached_prompt_tokens += prompt_tokens - cached_tokens

    def began(self, record: Record) -> None:
        assert record.ttft_s is not None
        self.ttft_total += 1
        self.ttft_good += record.ttft_s <= self.slo.ttft_s
        self.ttft_sum_s += record.ttft_s

    def ended(self, record: Record) -> None:
        self.answered_requests += 1
        self.output_tokens += record.output_tokens
        if record.tpot_s is not None:
            self.tpot_total += 1
            self.tpot_good += record.tpot_s <= self.slo.tpot_s

    def failed(self) -> None:
        self.ttft_total += 1

    def signals(self, name: str) -> GatewaySignals:
        return GatewaySignals(
            id=name,
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            uncached_prompt_tokens=self.uncached_prompt_tokens,
            answered_requests=self.answered_requests,
            output_tokens=self.output_tokens,
            ttft_total=self.ttft_total,
            ttft_good=self.ttft_good,
            ttft_sum_s=self.ttft_sum_s,
            tpot_total=self.tpot_total,
            tpot_good=self.tpot_good,
            held_requests=self.held_requests,
        )
