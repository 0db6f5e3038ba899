"""The private names of vLLM that this project leans on, but for its queues' (`vllm_waiting`).

vLLM has no public way to do these; `tests/serve_app/test_vllm_private.py` fails loudly when a new
vLLM changes their shape. Written against vLLM 0.32.0.

- `CoreClient._apply_ready_response`: the engine core's ready message, which the switch must give to
  API servers that were not there when the core said it.
- `PrometheusStatLogger`'s metric classes: one registry per model, so that several models' metrics
  live in one process (vLLM unregisters the first model's when it builds the second's).
- `vllm.v1.engine.utils.get_mp_context`: whence vLLM takes the core's process, which here has begun
  before (`early_core`).
- `StructuredOutputsParams._backend`: set by vLLM's API server; the warm-up has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from vllm.config import VllmConfig
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine import utils
from vllm.v1.engine.core_client import AsyncMPClient
from vllm.v1.executor import Executor
from vllm.v1.metrics.loggers import AggregateStatLoggerBase, PrometheusStatLogger


class CoreClient(AsyncMPClient):
    """vLLM's async core client, remembering the core's ready message in `core_ready`.

    Starts the EngineCore's process, of `context`, and blocks until it is ready. Raises what vLLM
    raises.
    """

    core_ready: bytes = b""

    def __init__(self, vllm_config: VllmConfig, context: BaseContext) -> None:
        with _processes_of(context):
            super().__init__(vllm_config, Executor.get_class(vllm_config), log_stats=True)

    def _apply_ready_response(self, payload: bytes) -> None:
        self.core_ready = payload
        super()._apply_ready_response(payload)


@contextmanager
def _processes_of(context: BaseContext) -> Iterator[None]:
    """vLLM's own choice is made within all the same: it says so in the log where it changes it."""
    theirs = utils.get_mp_context

    def get_mp_context() -> BaseContext:
        theirs()
        return context

    utils.get_mp_context = get_mp_context
    try:
        yield
    finally:
        utils.get_mp_context = theirs


def structured_regex(regex: str, config: VllmConfig) -> StructuredOutputsParams:
    """A regex constraint, for the grammar backend that requests of this engine use by default."""
    backend = config.structured_outputs_config.backend
    params = StructuredOutputsParams(regex=regex)
    params._backend = "xgrammar" if backend == "auto" else backend
    return params


def prometheus_logger(
    registry: CollectorRegistry,
) -> Callable[[VllmConfig, list[int]], AggregateStatLoggerBase]:
    """A vLLM stat logger factory whose metrics go to `registry` instead of the process's own."""
    bound = {
        name: _bound_to(cls, registry)
        for name, cls in (
            ("_gauge_cls", prometheus_client.Gauge),
            ("_counter_cls", prometheus_client.Counter),
            ("_histogram_cls", prometheus_client.Histogram),
        )
    }
    nested = {
        name: type(base.__name__, (base,), {k: v for k, v in bound.items() if hasattr(base, k)})
        for name in ("_spec_decoding_cls", "_kv_connector_cls", "_ec_connector_cls",
                     "_perf_metrics_cls")
        if (base := getattr(PrometheusStatLogger, name))
    }  # fmt: skip
    return type("RegistryStatLogger", (PrometheusStatLogger,), {**bound, **nested})


def _bound_to(metric: Callable[..., Any], registry: CollectorRegistry) -> Any:
    return staticmethod(partial(metric, registry=registry))
