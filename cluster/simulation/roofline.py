"""A step's time from the GPU's and the model's data sheets: the roofline.

    step_s  = max(flops / (gpus * peak * compute_eff), bytes / (gpus * bandwidth * memory_eff))
              + all_reduce_s + overhead_s
    flops   = 2 * layer_params * tokens                       each token through every layer
            + 2 * hidden * vocab * requests                   logits of one token a request
            + 4 * layers * heads * head_dim * pairs           Q K^T, A V; a multiply-add is 2
    bytes   = param_bytes * (layer_params + hidden * vocab)   weights, once a step
            + kv_token_bytes * (context read + tokens written)
    all_reduce_s = 2 * layers * (latency + 2 (n-1)/n * tokens * hidden * bytes / (link * link_eff))

The roofline: S. Williams et al., CACM 52(4), 2009. Two all-reduces a layer: Megatron-LM,
arXiv:1909.08053; 2 (n-1)/n of the data over each GPU's link: the ring algorithm (NCCL tests'
PERFORMANCE.md). `EFFICIENCY` was checked against the measured steps of Llama-2-70B on A100 and H100
that the Splitwise authors published: see `tests/cluster/simulation/test_step_times_measured.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.simulation.step_time import StepWork

GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Dense 16-bit peak, memory bandwidth and size, and the link to other GPUs in one direction."""

    peak_flops: float
    memory_bytes_per_s: float
    memory_bytes: float
    link_bytes_per_s: float


GPUS = {
    # NVIDIA H100 SXM data sheet: 1,979 TFLOPS with sparsity, 3.35 TB/s, 80 GB, NVLink 900 GB/s.
    "H100": Gpu(peak_flops=989.4e12, memory_bytes_per_s=3350 * GB, memory_bytes=80 * GB,
                link_bytes_per_s=450 * GB),
    # NVIDIA H200 SXM data sheet: as H100, with 4.8 TB/s and 141 GB.
    "H200": Gpu(peak_flops=989.4e12, memory_bytes_per_s=4800 * GB, memory_bytes=141 * GB,
                link_bytes_per_s=450 * GB),
    # NVIDIA A100 80GB SXM data sheet: 312 TFLOPS, 2,039 GB/s, NVLink 600 GB/s.
    "A100": Gpu(peak_flops=312e12, memory_bytes_per_s=2039 * GB, memory_bytes=80 * GB,
                link_bytes_per_s=300 * GB),
    # NVIDIA L4 data sheet: 242 TFLOPS with sparsity, 300 GB/s, 24 GB, PCIe Gen4 x16 64 GB/s.
    "L4": Gpu(peak_flops=121e12, memory_bytes_per_s=300 * GB, memory_bytes=24 * GB,
              link_bytes_per_s=32 * GB),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A dense decoder with grouped-query attention and a gated MLP; embeddings not tied."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    param_bytes: int = 2

    @property
    def layer_params(self) -> int:
        """Of all layers' matrices; norms are too small to matter."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def params(self) -> int:
        return self.layer_params + 2 * self.hidden * self.vocab  # embedding and LM head

    @property
    def kv_token_bytes(self) -> int:
        """Keys and values of one token, 16 bits each."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


MODELS = {
    # Each from the model's config.json on Hugging Face: meta-llama/Llama-3.1-8B, Qwen/Qwen3-32B,
    # meta-llama/Llama-3.1-70B, and meta-llama/Llama-2-70b-hf for the check against measured steps.
    "Llama-3.1-8B": Transformer(layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128,
                                mlp=14336, vocab=128256),
    "Qwen3-32B": Transformer(layers=64, hidden=5120, heads=64, kv_heads=8, head_dim=128,
                             mlp=25600, vocab=151936),
    "Llama-3.1-70B": Transformer(layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128,
                                 mlp=28672, vocab=128256),
    "Llama-2-70B": Transformer(layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128,
                               mlp=28672, vocab=32000),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """What of the data sheets is reached, and what a step costs beside.

    `overhead_s` is an assumption: a step's scheduling, launches and sampling under vLLM v1 with
    CUDA graphs. The vLLM of 2023 behind the measured steps needed 20 to 25 ms.
    """

    compute_frac: float = 0.7
    memory_frac: float = 0.95
    link_frac: float = 0.25
    all_reduce_latency_s: float = 10e-6
    overhead_s: float = 0.004


EFFICIENCY = Efficiency()


class Roofline:
    """A `StepTime` of `gpus` GPUs under tensor parallelism."""

    def __init__(
        self, gpu: Gpu, model: Transformer, gpus: int = 1, efficiency: Efficiency = EFFICIENCY
    ) -> None:
        if gpus < 1:
            raise ValueError(f"gpus must be at least 1, not {gpus}")
        self._model = model
        self._flops_per_s = gpus * gpu.peak_flops * efficiency.compute_frac
        self._bytes_per_s = gpus * gpu.memory_bytes_per_s * efficiency.memory_frac
        self._fixed_s = efficiency.overhead_s
        self._token_s = 0.0
        if gpus > 1:
            self._fixed_s += 2 * model.layers * efficiency.all_reduce_latency_s
            sent_bytes = 2 * (gpus - 1) / gpus * model.hidden * model.param_bytes
            link_bytes_per_s = gpu.link_bytes_per_s * efficiency.link_frac
            self._token_s = 2 * model.layers * sent_bytes / link_bytes_per_s
        head_params = model.hidden * model.vocab
        self._token_flops = 2 * model.layer_params
        self._request_flops = 2 * head_params
        self._pair_flops = 4 * model.layers * model.heads * model.head_dim
        self._weight_bytes = model.param_bytes * (model.layer_params + head_params)

    def step_s(self, work: StepWork) -> float:
        tokens = work.prefill_tokens + work.decode_requests
        flops = (
            self._token_flops * tokens
            + self._request_flops * (work.prefill_requests + work.decode_requests)
            + self._pair_flops * (work.prefill_pairs + work.context_tokens)
        )
        kv_tokens = work.prefill_context_tokens + work.context_tokens + tokens
        read_bytes = self._weight_bytes + self._model.kv_token_bytes * kv_tokens
        roof_s = max(flops / self._flops_per_s, read_bytes / self._bytes_per_s)
        return roof_s + self._token_s * tokens + self._fixed_s


ACTIVATION_BYTES = 2 * GB
"""Kept free on each GPU beside weights and KV: vLLM's profile run at 8,192 batched tokens takes one
to a few GB. An assumption; give the number of KV tokens that vLLM prints where it is known."""


def kv_tokens(gpu: Gpu, model: Transformer, gpus: int = 1, memory_frac: float = 0.9) -> int:
    """KV tokens that fit beside the weights; `memory_frac` is vLLM's `gpu_memory_utilization`.

    Raises ValueError where the weights do not fit.
    """
    room_bytes = (
        gpus * gpu.memory_bytes * memory_frac
        - model.params * model.param_bytes
        - gpus * ACTIVATION_BYTES
    )
    if room_bytes < model.kv_token_bytes:
        weights_gb = model.params * model.param_bytes / GB
        raise ValueError(
            f"{weights_gb:.0f} GB of weights leave no room for KV on {gpus} GPUs of "
            f"{gpu.memory_bytes / GB:.0f} GB"
        )
    return int(room_bytes // model.kv_token_bytes)
