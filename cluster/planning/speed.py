"""What an engine's steps take, by the roofline of `cluster.simulation.roofline`, for any shape.

Beside what that has: of a model with experts a step reads those that its tokens take (`Mlp.read`);
weights of 8 bits are multiplied at twice the 16-bit peak, those of 4 bits at the 16-bit one; layers
with a window look at that much of the context. Pipeline parallel engines pass each step through
their stages one after the other, and so take as long as one stage of all layers would.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.memory import BATCHED_TOKENS, KV_BYTES, QUANTIZED_BYTES, Placement
from cluster.planning.model_shape import ModelShape
from cluster.simulation.roofline import EFFICIENCY, Efficiency, Gpu
from cluster.types import StepCost

PEAK_TIMES = {"none": 1.0, "fp8": 2.0, "int8": 2.0, "w4a16": 1.0}
"""Of the 16-bit peak: NVIDIA's data sheets of Hopper and Ada; Ampere has int8 alone."""

USUAL_REQUESTS = 64
"""A batch in which the cost of one more decoding request is taken."""


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """Of one engine."""

    shape: ModelShape
    placement: Placement
    gpu: Gpu
    efficiency: Efficiency = EFFICIENCY

    def step_s(
        self, *, prefill_tokens: int = 0, decode_requests: int = 0, context: float = 0.0
    ) -> float:
        """`context`: tokens behind each decoding request; prompts begin at 0."""
        shape, tokens = self.shape, prefill_tokens + decode_requests
        head = shape.hidden * shape.vocab
        layer_params = shape.active_params - head
        requests = decode_requests + (prefill_tokens > 0)
        pairs = sum(
            decode_requests * _seen(context, window) + _pairs(prefill_tokens, window)
            for window in shape.windows
        )
        flops = 2.0 * layer_params * tokens + 2.0 * head * requests
        flops += 4.0 * shape.heads * shape.head_dim * pairs
        read = float(shape.layers * shape.attention.params)
        read += sum(mlp.read(tokens) for mlp in shape.mlps)
        per_weight = QUANTIZED_BYTES[self.placement.quantization] or shape.param_bytes
        kv_bytes = KV_BYTES[self.placement.kv_cache_dtype]
        read_bytes = read * per_weight + head * shape.param_bytes
        read_bytes += decode_requests * shape.kv_elements(context) * kv_bytes
        tp, found = self.placement.tp, self.efficiency
        peak = self.gpu.peak_flops * PEAK_TIMES[self.placement.quantization]
        compute_s = flops / (tp * peak * found.compute_frac)
        memory_s = read_bytes / (tp * self.gpu.memory_bytes_per_s * found.memory_frac)
        return max(compute_s, memory_s) + self._all_reduce_s(tokens) + found.overhead_s

    def _all_reduce_s(self, tokens: int) -> float:
        tp, shape = self.placement.tp, self.shape
        if tp == 1:
            return 0.0
        sent_bytes = 2.0 * (tp - 1) / tp * tokens * shape.hidden * 2.0
        link = self.gpu.link_bytes_per_s * self.efficiency.link_frac
        return 2.0 * shape.layers * (self.efficiency.all_reduce_latency_s + sent_bytes / link)

    def cost(self, context: float) -> StepCost:
        """As an engine would learn it under such contexts: the roofline's slopes."""
        base_s = self.step_s(decode_requests=1, context=1.0)
        batch_s = self.step_s(decode_requests=USUAL_REQUESTS, context=context)
        chunk_s = self.step_s(prefill_tokens=BATCHED_TOKENS)
        return StepCost(
            base_s=base_s,
            prefill_token_s=(chunk_s - base_s) / BATCHED_TOKENS,
            decode_request_s=(batch_s - base_s) / USUAL_REQUESTS,
        )


def _seen(context: float, window: int | None) -> float:
    return context if window is None else min(context, window)


def _pairs(tokens: int, window: int | None) -> float:
    """That a prompt's attention looks at in one layer."""
    whole = tokens * (tokens + 1) / 2.0
    if window is None or window >= tokens:
        return whole
    return whole - (tokens - window) * (tokens - window + 1) / 2.0
