"""An engine replica: one vLLM engine behind an engine host.

Starting is: wait where the engines before this one died young (`engine_history`), build vLLM's
configuration, start the EngineCore and wait for it, bind the wire, tell Serve where it listens.
Serve's health check fails as soon as the core is dead, so the replica is replaced; the switches
know earlier, from the wire.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import ray
from ray import serve
from vllm.config import VllmConfig
from vllm.config.logging import LoggingConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

from cluster.spec import ClusterSpec, ModelSpec
from cluster.stall import StepClock
from serve_app import (
    engine_args,
    engine_history,
    engine_starts,
    membership,
    replay,
    wire_secret,
)
from serve_app.early_core import EarlyContext, EarlyCore
from serve_app.engine_host import EngineHost
from serve_app.engine_metrics import EngineMetrics
from serve_app.fingerprint import fingerprint
from serve_app.host_identity import HostIdentity
from serve_app.host_thread import HostThread
from serve_app.kv_events import KvEvents, publish_events
from serve_app.link import Heartbeat
from serve_app.logs import configure_logging
from serve_app.settings import ENGINE_ERRORS_ENV
from serve_app.sticky_cpu import hold_engine_core, leaves_it_to_the_kernel
from serve_app.vllm_private import CoreClient
from serve_app.warm_up import warm_up

logger = logging.getLogger("tokenfleet.engine")


class EngineStartError(RuntimeError):
    """The engine core did not start; the message is vLLM's own."""


def engine_config(model: ModelSpec) -> VllmConfig:
    """vLLM's configuration for an engine of `model`, with what Tokenfleet adds.

    The replay processor is installed where the engine can run one: custom logits processors need a
    generating model, and vLLM's first model runner refuses them beside speculative decoding.
    """
    args = engine_args.engine_args(model)
    args.mm_processor_cache_gb = 0  # one gateway's cache cannot mirror several engines'
    childrens_logging = _take_logging(args, model)
    args.enable_logging_iteration_details = True  # each step's account, for `load_meter`
    # Without it vLLM's scheduler gets a quarter of the batch that its API server has on large GPUs.
    config: VllmConfig = args.create_engine_config(UsageContext.OPENAI_API_SERVER)
    config.logging_config = childrens_logging
    publish_events(config)
    if can_replay(config):
        path = replay.V2_PATH if config.use_v2_model_runner else replay.V1_PATH
        config.model_config.logits_processors = [
            *(config.model_config.logits_processors or ()),
            path,
        ]
    return config


def _take_logging(args: AsyncEngineArgs, model: ModelSpec) -> LoggingConfig:
    """How the core and its workers log, as the spec or vLLM's defaults say; `args` then leave this
    process's logging alone (see `serve_app.logs`, whose environment vLLM took its default from)."""
    asked: LoggingConfig = args.create_logging_config()
    given = model.engine.get("logging_config")
    if not isinstance(given, dict) or "configure_logging" not in given:
        asked = replace(asked, configure_logging=True)
    args.logging_config = LoggingConfig(configure_logging=False, pylogging_config_file=None)
    args.log_level = args.log_config_file = None
    return asked


def can_replay(config: VllmConfig) -> bool:
    """Whether an engine of this configuration can force tokens."""
    generates = config.model_config.runner_type == "generate"
    return generates and (config.speculative_config is None or config.use_v2_model_runner)


class EngineReplica:
    """What is behind an engine replica: `start` returns when the engine can take requests.

    Its host lives on `thread`. `core`: the process that is to run the engine core.
    """

    def __init__(
        self, spec: ClusterSpec, model_name: str, thread: HostThread, core: EarlyCore
    ) -> None:
        configure_logging()
        self._spec, self._model = spec, spec.model(model_name)
        self._thread, self._early = thread, core
        self._clock = engine_starts.StartClock()
        self._clock.part("process and imports")
        self._left = False

    async def start(self) -> None:
        """Raises EngineStartError with vLLM's own message."""
        keys = await asyncio.to_thread(wire_secret.keys)
        await self._thread.run(self._start(keys.accepted))
        atexit.register(self._on_exit)

    async def _start(self, switch_keys: frozenset[bytes]) -> None:
        """On the host's own thread, which nothing else needs while the core starts."""
        self._history = engine_history.of_this_replica(self._spec.failover)
        await self._history.back_off()
        self._clock.waited()
        await self._start_core()
        if leaves_it_to_the_kernel(self._config, self._model.resources.device):
            self._holding = asyncio.ensure_future(hold_engine_core())
        self._host = self._make_host(switch_keys)
        self._address = self._host.start(ray.util.get_node_ip_address(), self._ports())
        logger.info("engine of %s listens on %s", self._model.name, self._address.endpoint)
        self._history.ready()
        self._clock.part("rest")
        logger.info("engine of %s started in %s", self._model.name, self._clock)
        await engine_starts.note(self._clock.start_s)

    async def _start_core(self) -> None:
        """As far as its first answers: some of what it cannot do shows there only."""
        with tempfile.TemporaryDirectory(prefix="tokenfleet-") as folder:
            errors = Path(folder) / "errors"
            os.environ[ENGINE_ERRORS_ENV] = str(errors)
            try:
                self._config = engine_config(self._model)
                self._kv_events = KvEvents.of(self._config.kv_events_config)
                self._clock.part("configuration")
                self._core = CoreClient(self._config, EarlyContext(self._early))
                self._clock.part("engine core")
                await warm_up(self._core, self._config)
                self._clock.part("first answers")
            except Exception as error:
                raise EngineStartError(
                    f"model {self._model.name} ({self._model.source}): {_cause(error, errors)}"
                ) from error
            finally:
                del os.environ[ENGINE_ERRORS_ENV]

    def _make_host(self, switch_keys: frozenset[bytes]) -> EngineHost:
        context = serve.get_replica_context()
        limits = self._spec.failover
        block_tokens = _block_tokens(self._config)
        identity = HostIdentity(
            engine_id=context.replica_id.unique_id,
            node=ray.get_runtime_context().get_node_id(),
            fingerprint=fingerprint(self._config),
            can_replay=can_replay(self._config),
            core_ready=self._core.core_ready,
            block_tokens=block_tokens,
            kv_total_tokens=(self._config.cache_config.num_gpu_blocks or 0) * block_tokens,
            max_num_seqs=self._config.scheduler_config.max_num_seqs,
            max_num_batched_tokens=self._config.scheduler_config.max_num_batched_tokens,
        )
        heartbeat = Heartbeat(limits.heartbeat_interval_s, limits.heartbeat_timeout_s)
        clock = StepClock(limits.stall_timeout_s)
        return EngineHost(
            self._core,
            identity,
            heartbeat,
            switch_keys,
            clock,
            self._kv_events,
            EngineMetrics(RayPrometheusStatLogger(self._config, [0])),
        )

    def _ports(self) -> tuple[int, int] | None:
        ports = self._spec.ports
        if ports.engine_min is None or ports.engine_max is None:
            return None
        return ports.engine_min, ports.engine_max

    def metadata(self) -> dict[str, str]:
        """What gateways are to know of it."""
        return membership.metadata_of(self._address)

    def check_health(self) -> None:
        """Raises RuntimeError once the engine core is dead."""
        if self._host.failure is not None:
            raise RuntimeError(f"the engine core is dead: {self._host.failure}")

    async def scaling_stats(self) -> dict[str, float]:
        """What the scaler is told of it."""
        return await self._thread.run(self._host.scaling_stats())

    async def remove(self) -> None:
        """Tell the switches, stop the core."""
        if hasattr(self, "_address"):
            await self._thread.run(self._leave("the replica is being removed"))
            await asyncio.to_thread(self._core.shutdown, 0)

    def _on_exit(self) -> None:
        """The process ends, on SIGTERM for one, without Serve having removed the replica."""
        self._thread.finish(self._leave("its process was told to end"))

    async def _leave(self, why: str) -> None:
        """Have the switches move what runs here, or finish it, and close. Once is enough."""
        if self._left or self._host.failure is not None:
            return
        self._left = True
        self._history.leave()
        timeout_s = self._spec.failover.drain_timeout_s
        if not await self._host.drain(why, timeout_s):
            logger.warning("after %g s requests still run here; they are moved", timeout_s)
        await self._host.stop(why)


def _block_tokens(config: VllmConfig) -> int:
    """The size of a block as the started core caches it: larger than configured where vLLM aligns
    attention to recurrent states, or where several ranks share a context."""
    cache = config.cache_config
    return int(cache.effective_attention_block_size or cache.block_size)


def _cause(error: Exception, errors: Path) -> str:
    """vLLM's own message: the core's first error where it got that far, else the exception's."""
    if errors.exists() and (lines := errors.read_text().splitlines()):
        return lines[0]
    return f"{type(error).__name__}: {error}"
