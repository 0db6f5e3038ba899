"""What fits on GPUs beside a model's weights.

On each of n = TP x PP GPUs of an engine:

    weights      parameters * bytes / n
    activations  batched tokens * (4 hidden + 2 widest MLP / TP) * 2 bytes, and the logits of
                 max_num_seqs requests in 32 bits
    CUDA graphs  GRAPHS_BYTES,   CUDA, NCCL and libraries   CONTEXT_BYTES
    KV           what is left of memory * gpu_memory_utilization

A GPU has a share of a token's KV: its heads are cut up to their number, then repeated; a latent
(MLA) is on every GPU. Sizes of GPUs are what CUDA reports: an H100 of "80 GB" has 79.1 GiB.
Checked against what vLLM printed for Qwen3-32B on two of them: 307,328 tokens
(`tests/cluster/planning/test_planning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.model_shape import ModelShape

GIB = 2**30

MEMORY_BYTES = {"H100": 79.1 * GIB, "H200": 139.8 * GIB, "A100": 79.1 * GIB, "L4": 22.0 * GIB}
"""As CUDA reports it; names as in `cluster.simulation.roofline.GPUS`."""

UTILIZATION = 0.9
"""vLLM's default `gpu_memory_utilization`."""

BATCHED_TOKENS = 8192
"""vLLM's default `max_num_batched_tokens` for a server on GPUs of this size."""

SEQS = 1024
"""Its default `max_num_seqs` there."""

GRAPHS_BYTES = 0.7 * GIB
CONTEXT_BYTES = 1.0 * GIB

QUANTIZED_BYTES = {"none": None, "fp8": 1.0, "int8": 1.0, "w4a16": 0.5 + 2.0 / 128}
"""Of a weight in a layer; w4a16 has a 16-bit scale for each group of 128. Embedding and head stay
as they are."""

KV_BYTES = {"auto": 2.0, "fp8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How an engine is laid out, and in which formats."""

    tp: int
    pp: int = 1
    quantization: str = "none"
    kv_cache_dtype: str = "auto"

    @property
    def gpus(self) -> int:
        return self.tp * self.pp


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """On one of an engine's GPUs, in bytes. `kv_bytes` is below 0 where the rest does not fit.
    `kv_token_bytes`: of one token of a long context, on this GPU."""

    total_bytes: float
    weight_bytes: float
    activation_bytes: float
    fixed_bytes: float
    kv_bytes: float
    kv_token_bytes: float

    @property
    def kv_tokens(self) -> int:
        """That the engine holds, as vLLM counts them: in layers without a window."""
        return max(0, int(self.kv_bytes // self.kv_token_bytes))


def weight_bytes(shape: ModelShape, quantization: str) -> float:
    """Of the whole model."""
    per_weight = QUANTIZED_BYTES[quantization] or shape.param_bytes
    layers = shape.params - shape.embedding_params
    return layers * per_weight + shape.embedding_params * shape.param_bytes


def kv_element_share(shape: ModelShape, placement: Placement) -> float:
    """One GPU's part of a layer's KV elements, 0 to 1."""
    return 1.0 / min(placement.tp, shape.attention.split)


def memory_of(
    shape: ModelShape,
    placement: Placement,
    total_bytes: float,
    utilization: float = UTILIZATION,
) -> Memory:
    widest = max(mlp.active_params // (3 * shape.hidden) for mlp in shape.mlps)
    activations = BATCHED_TOKENS * (4 * shape.hidden + 2 * widest / placement.tp) * 2.0
    activations += SEQS * shape.vocab * 4.0
    weights = weight_bytes(shape, placement.quantization) / placement.gpus
    fixed = GRAPHS_BYTES + CONTEXT_BYTES
    layers_here = shape.layers / placement.pp
    full = sum(window is None for window in shape.windows) or shape.layers
    elements = shape.attention.kv_elements * kv_element_share(shape, placement)
    token_bytes = elements * KV_BYTES[placement.kv_cache_dtype] * full / shape.layers * layers_here
    return Memory(
        total_bytes=total_bytes,
        weight_bytes=weights,
        activation_bytes=activations,
        fixed_bytes=fixed,
        kv_bytes=total_bytes * utilization - weights - activations - fixed,
        kv_token_bytes=token_bytes,
    )


def requests_that_fit(
    shape: ModelShape, placement: Placement, memory: Memory, tokens: float
) -> float:
    """Of so many tokens each, at a time; layers with a window keep no more than that."""
    elements = shape.kv_elements(tokens) * kv_element_share(shape, placement) / placement.pp
    return max(0.0, memory.kv_bytes / (elements * KV_BYTES[placement.kv_cache_dtype]))
