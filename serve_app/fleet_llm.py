"""vLLM's AsyncLLM over a switch: the engine client of one model's API server.

Adds two things. When the switch had to end a request, the client is told why, in vLLM's own error
types (500 for a lost engine, 503 where trying again helps) instead of "Internal server error". And
a request that is only to be explained ends here, where it is complete (`explaining`).

`_add_request` is private to vLLM, and the one place where a request for one answer is an
`EngineCoreRequest` and not yet registered; `tests/serve_app/test_explaining.py` fails when it
changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from copy import copy
from dataclasses import fields
from typing import Any

from prometheus_client import CollectorRegistry
from vllm.config import (
    CacheConfig,
    CompilationConfig,
    LoadConfig,
    ParallelConfig,
    VllmConfig,
)
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import GenerationError, RetryableRequestError
from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestOutputCollector

from serve_app.explaining import question
from serve_app.switch import Switch
from serve_app.vllm_private import prometheus_logger

_ENGINE_ONLY = frozenset(
    field.name
    for config in (ParallelConfig, CacheConfig, LoadConfig, CompilationConfig)
    for field in fields(config)
) | {
    "quantization", "quantization_config", "dtype", "kv_cache_dtype", "speculative_config",
    "kv_transfer_config", "kv_events_config", "compilation_config", "attention_config",
    "attention_backend", "kernel_config", "offload_config", "distributed_executor_backend",
    "enforce_eager", "max_num_seqs", "max_num_batched_tokens", "async_scheduling",
    "scheduler_cls", "logits_processors", "seed", "logging_config", "log_level", "log_config_file",
}  # fmt: skip


def frontend_config(args: AsyncEngineArgs) -> VllmConfig:
    """vLLM's configuration for an API server without an engine of its own, on any node.

    What only an engine needs (parallelism, quantization, kernels, memory) is left at its default,
    so that it is not validated against hardware that this node need not have; the engine's own
    ready message brings what the API server must know of it.
    """
    defaults = AsyncEngineArgs(model=args.model)
    for name in _ENGINE_ONLY & {field.name for field in fields(AsyncEngineArgs)}:
        setattr(args, name, getattr(defaults, name))
    args.mm_processor_cache_gb = 0  # see serve_app.engine.engine_config
    config: VllmConfig = args.create_engine_config()
    return config


class FleetLLM(AsyncLLM):
    """Blocks in its constructor until the switch has announced an engine."""

    def __init__(
        self, config: VllmConfig, executor_class: Any, switch: Switch, registry: CollectorRegistry
    ) -> None:
        self._switch = switch
        super().__init__(
            config,
            executor_class,
            log_stats=True,
            log_requests=False,
            stat_loggers=[prometheus_logger(registry)],
            client_addresses=switch.addresses.for_vllm(),
        )

    async def generate(
        self, prompt: Any, sampling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        async for output in super().generate(prompt, sampling_params, request_id, **kwargs):
            # Of several answers to one request (`n`) any may be the one that failed.
            if any(answer.finish_reason == "error" for answer in output.outputs):
                self._raise_cause(request_id)
            yield output

    async def encode(
        self, prompt: Any, pooling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[PoolingRequestOutput, None]:
        async for output in super().encode(prompt, pooling_params, request_id, **kwargs):
            if getattr(output, "error", None) is not None:
                self._raise_cause(request_id)
            yield output

    async def add_request(
        self, request_id: str, prompt: Any, params: Any, *rest: Any, **more: Any
    ) -> RequestOutputCollector:
        if question() is not None and getattr(params, "n", 1) > 1:
            # Each of its answers is a request like any other; vLLM registers them elsewhere.
            params = copy(params)
            params.n = 1
        return await super().add_request(request_id, prompt, params, *rest, **more)

    async def _add_request(self, request: EngineCoreRequest, *rest: Any) -> None:
        if (asked := question()) is not None:
            asked.note(request)  # raises
        await super()._add_request(request, *rest)

    def _raise_cause(self, request_id: str) -> None:
        """Raise what the switch knows of this failure; return where the engine itself failed it."""
        failure = self._switch.failure_of(request_id)
        if failure is None:
            return
        if failure.is_callers:
            raise ValueError(failure.message)  # vLLM's word for a bad request
        error = RetryableRequestError if failure.retryable else GenerationError
        raise error(failure.message)
