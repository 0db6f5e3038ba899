"""vLLM's AsyncLLM over a switch: the engine client of one model's API server.

Adds three things. When the switch had to end a request, the client is told why, in vLLM's own error
types (500 for a lost engine, 503 where trying again helps) instead of "Internal server error". A
request that has a ticket waits for its turn (`ticket`). And one that is only to be explained ends
here, where it is complete (`explaining`).

`_add_request` is private to vLLM, and the one place where a request for one answer is an
`EngineCoreRequest` and not yet registered; `tests/serve_app/test_explaining.py` fails when it
changes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import fields
from http import HTTPStatus
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
from vllm.exceptions import GenerationError, GracefulHTTPError, RetryableRequestError
from vllm.outputs import PoolingRequestOutput, RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestOutputCollector

from serve_app.errors import GatewayError
from serve_app.explaining import question
from serve_app.switch import Switch
from serve_app.ticket import TICKET, Ticket
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


class AdmissionError(GracefulHTTPError):
    """The request is refused; the gateway's answer says when to come again."""


def offered_tokens(prompt: Any) -> int:
    """The prompt's length in tokens, as vLLM's server hands it on; 1 where it has none yet (a
    stream of audio)."""
    if isinstance(prompt, Mapping):
        if (ids := prompt.get("prompt_token_ids")) is not None:
            return len(ids)
        if (embeds := prompt.get("prompt_embeds")) is not None:
            return len(embeds)
    return 1


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
        async with self._turn(request_id, prompt, sampling_params) as name:
            async for output in super().generate(prompt, sampling_params, name, **kwargs):
                # Of several answers to one request (`n`) any may be the one that failed.
                if any(answer.finish_reason == "error" for answer in output.outputs):
                    self._raise_cause(name)
                yield output

    async def encode(
        self, prompt: Any, pooling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[PoolingRequestOutput, None]:
        async with self._turn(request_id, prompt, pooling_params) as name:
            async for output in super().encode(prompt, pooling_params, name, **kwargs):
                if getattr(output, "error", None) is not None:
                    self._raise_cause(name)
                yield output

    @asynccontextmanager
    async def _turn(self, request_id: str, prompt: Any, params: Any) -> AsyncIterator[str]:
        """Wait for the current request's turn, if it has a ticket, and tell that when it is over.
        Gives the name of this prompt. Raises AdmissionError where it is refused."""
        ticket = TICKET.get()
        if ticket is None:
            yield request_id
            return
        name, is_whole = ticket.begin(request_id), False
        try:
            await self._admit(ticket, name, prompt, params)
            yield name
            is_whole = True
        finally:
            ticket.end(name, whole=is_whole)

    async def _admit(self, ticket: Ticket, name: str, prompt: Any, params: Any) -> None:
        if question() is not None:
            return
        prompt_tokens = offered_tokens(prompt)
        most_tokens = self._most_tokens(params, prompt_tokens)
        try:
            await ticket.admitted(name, prompt_tokens, most_tokens, getattr(params, "n", 1))
        except GatewayError as error:
            raise AdmissionError(str(error), HTTPStatus(error.status)) from error

    def _most_tokens(self, params: Any, prompt_tokens: int) -> int | None:
        """That the answers may have together; None where their client has set no bound: vLLM's
        server then sets what the model's length leaves."""
        if not isinstance(params, SamplingParams):
            return 0
        left = self.model_config.max_model_len - prompt_tokens
        if params.max_tokens is None or params.max_tokens >= left:
            return None
        return params.n * params.max_tokens

    async def add_request(
        self, request_id: str, prompt: Any, params: Any, *rest: Any, **more: Any
    ) -> RequestOutputCollector:
        if question() is not None and getattr(params, "n", 1) > 1:
            # Each of its answers is a request like any other; vLLM registers them elsewhere.
            params = copy(params)
            params.n = 1
        queue = await super().add_request(request_id, prompt, params, *rest, **more)
        if (ticket := TICKET.get()) is not None:
            ticket.sent(getattr(params, "n", 1))
        return queue

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
