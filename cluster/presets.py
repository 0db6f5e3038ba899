"""What `preset:` of a model stands for: fields of vLLM's EngineArgs, by the device that it runs on.

They are laid under what the spec says itself, and `tokenfleet check` prints them. What no preset
can know (quantized weights, a draft model, tensor parallelism) is `engine:`'s to say; prefix
caching, chunked prefill and CUDA graphs are vLLM's defaults already.

| preset       | what it is for                                                                    |
|--------------|-----------------------------------------------------------------------------------|
| `latency`    | steady streams: fewer requests at a time, and less of a prompt beside them        |
| `throughput` | many tokens a second: larger steps, and as many requests as memory holds          |
| `memory`     | longer contexts or smaller devices: a smaller KV cache, or one of half the bytes  |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Preset = Literal["latency", "throughput", "memory"]

GPU: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # A step of 64 decodes and 4,096 prompt tokens takes about as long as vLLM's 8,192 tokens
        # with half of them: what others' prompts add to a token's time is halved.
        "latency": {"max_num_seqs": 64, "max_num_batched_tokens": 4096},
        # Twice vLLM's default step; 5 % more memory is 10 to 20 % more KV beside large weights.
        "throughput": {"max_num_batched_tokens": 16384, "gpu_memory_utilization": 0.95},
        # Half the bytes a token (Hopper, Ada and newer), and fewer requests to keep state for.
        "memory": {"kv_cache_dtype": "fp8", "gpu_memory_utilization": 0.95, "max_num_seqs": 256},
    }
)
CPU: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # A core computes some hundred prompt tokens while a GPU computes 8,192.
        "latency": {"max_num_seqs": 16, "max_num_batched_tokens": 1024},
        "throughput": {"max_num_seqs": 256, "max_num_batched_tokens": 8192},
        "memory": {"max_num_seqs": 64, "kv_cache_memory_bytes": 268_435_456},
    }
)


def under(
    engine: Mapping[str, Any], preset: Preset | None, device: Literal["gpu", "cpu"]
) -> dict[str, Any]:
    """`engine` with the preset's fields where it has none."""
    if preset is None:
        return dict(engine)
    return {**(GPU if device == "gpu" else CPU)[preset], **engine}
