"""What `source: demo` implies, merged under whatever the user wrote.

The demo model is a fixture as much as a demonstration, so its answers must repeat exactly whatever
shares the batch: float32, no compilation. The rest makes a 4.5 M-parameter model start fast and fit
a laptop. An explicit value always wins.
"""

from collections.abc import Mapping
from typing import Any

DEMO_SOURCE = "demo"

ENGINE: Mapping[str, Any] = {
    "dtype": "float32",  # exact repeats; bfloat16 sums depend on the batch
    "enforce_eager": True,  # compiling costs 20 s and saves nothing at this size
    "max_model_len": 2048,  # tokens; the model has 4096 positions
    "block_size": 32,  # tokens; vLLM's CPU attention needs a multiple of 32
}
ONE_WORKER: Mapping[str, Any] = {
    # The EngineCore runs the model itself, as it does on a GPU; on CPUs vLLM would start a worker
    # process, to pin its threads: a third of the start, and of the memory.
    "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
}
"""Where the model is not split."""
PARALLEL_SIZES = ("tensor_parallel_size", "pipeline_parallel_size")
API: Mapping[str, Any] = {
    "enable_auto_tool_choice": True,
    "tool_call_parser": "hermes",  # the format the model was trained on
}
# Read by vLLM's CPU build only.
ENV: Mapping[str, str] = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # auto would pin every engine to the same cores
    "OMP_NUM_THREADS": "1",  # more threads only wait for each other at this size
}

KV_CACHE_BYTES = 2**30
"""262,144 tokens of this model. (On a CPU vLLM would take nearly all memory that is free.)"""
KV_CACHE_FIELD, KV_CACHE_ENV = "kv_cache_memory_bytes", "VLLM_CPU_KVCACHE_SPACE"
"""Either says how much, on a CPU; with both vLLM goes by the latter."""


def with_demo_defaults(model: Any) -> Any:
    """`model` (raw, as YAML gave it) with the demo's defaults where it is one; else unchanged.

    Parts of the wrong type are left alone: validation reports them.
    """
    if not isinstance(model, Mapping) or model.get("source") != DEMO_SOURCE:
        return model
    merged = dict(model)
    for key, defaults in (("engine", ENGINE), ("api", API), ("env", ENV)):
        given = merged.get(key, {})
        if isinstance(given, Mapping):
            merged[key] = {**defaults, **given}
    engine = merged["engine"]
    if isinstance(engine, Mapping) and all(engine.get(key, 1) == 1 for key in PARALLEL_SIZES):
        merged["engine"] = {**ONE_WORKER, **engine}
    return merged


def with_kv_cache(engine: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """The demo's `engine` on a CPU, once its preset is in it."""
    given = {} if KV_CACHE_ENV in env else {KV_CACHE_FIELD: KV_CACHE_BYTES}
    return {**given, **engine}
