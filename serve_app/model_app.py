"""One model's API server inside a Gateway: vLLM's own FastAPI app over a switch.

Nothing of vLLM's API is rewritten here: `build_app` and `init_app_state` are what its server calls,
in that order, with the arguments the spec gives. No weights are loaded: only config and tokenizer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.tasks import SupportedTask
from vllm.v1.executor import Executor

from cluster.failover import FailoverLimits
from cluster.routing import policies
from cluster.spec import ClusterSpec, ModelSpec
from serve_app import engine_args, membership
from serve_app.admission_desk import AdmissionDesk
from serve_app.decision_writer import DecisionWriter
from serve_app.deployments import Status
from serve_app.engine_history import Wait
from serve_app.errors import RETRY_AFTER_S, ModelFailedError, NoEngineError
from serve_app.fleet_llm import FleetLLM, frontend_config
from serve_app.flight_news import FlightNews
from serve_app.link import Heartbeat
from serve_app.scaling_record import Scaled
from serve_app.scaling_stats import ModelStats
from serve_app.switch import Switch
from serve_app.switch_measures import Measured
from serve_app.wire_security import KeyPair

logger = logging.getLogger("tokenfleet.gateway")


class ModelApp:
    """`name` as served; `app` once its first engine was ready, and from then on for good.
    `deployment` is what Serve last said of its engines, `backing_off` those that wait to start,
    `scaled` how many of them were wanted last, `start_s` what the last one's start took.

    Made on the gateway's event loop. `keys` are what it shows to engines; `on_no_engine` is called
    when there is none any more; `desk` has its requests wait for their turn.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        model: ModelSpec,
        keys: KeyPair,
        on_no_engine: Callable[[], None] = lambda: None,
        desk: AdmissionDesk | None = None,
    ) -> None:
        limits = spec.failover
        self.failure: str | None = None
        self.deployment: Status | None = None
        self.backing_off: Sequence[Wait] = ()
        self.scaled: Scaled | None = None
        self.start_s: float | None = None
        self._held = 0  # requests that wait here
        self._on_no_engine = on_no_engine
        self._loop = asyncio.get_running_loop()
        self._available = asyncio.Event()  # built, and an engine is ready
        self._changed = asyncio.Event()  # engines came or went
        self.name = model.name
        self.app: ASGIApp | None = None
        self.registry = CollectorRegistry()
        self.switch = Switch(
            name=model.name,
            router=policies.router(model.routing.policy),
            limits=FailoverLimits(
                max_attempts=limits.max_attempts,
                poison_deaths=limits.poison_deaths,
                hold_timeout_s=limits.hold_timeout_s,
                finish_within_s=limits.finish_within_s,
                hedge_after_s=limits.hedge_after_s,
            ),
            max_flights=spec.gateway.max_flights,
            heartbeat=Heartbeat(limits.heartbeat_interval_s, limits.heartbeat_timeout_s),
            keys=keys,
            on_engines=self._engines_changed,
            on_decision=DecisionWriter.of(model.routing),
            on_news=_nobody_hears if desk is None else partial(desk.news, model.name),
            slo=model.slo.slo,
        )
        self._desk = desk
        if desk is not None:
            desk.have_line(model.name, self.switch)
        self._model = model
        self._hold_timeout_s = limits.hold_timeout_s
        self._lifespan = AsyncExitStack()
        self._state: Any = None

    async def run(self) -> None:
        """Wait for an engine, then build the app; where that fails, `failure` says why."""
        try:
            await self._build()
        except Exception as error:
            logger.exception("model %s cannot be served", self.name)
            self.failure = f"model {self.name} cannot be served: {error}"
            self._update_available()

    async def _build(self) -> None:
        membership.subscribe(self.name, self.switch.set_members)
        args = engine_args.api_server_args(self._model)
        config = await asyncio.to_thread(frontend_config, AsyncEngineArgs.from_cli_args(args))
        await asyncio.wrap_future(self.switch.first_ready())
        self.switch.attach_front()
        executor_class = Executor.get_class(config)
        # In a thread: it blocks until the switch's message, and loads the tokenizer, while other
        # models' streams flow through this loop.
        llm = await asyncio.to_thread(FleetLLM, config, executor_class, self.switch, self.registry)
        self._lifespan.callback(llm.shutdown)
        tasks = await self._supported_tasks(llm)
        app = build_app(args, tasks, llm.model_config)
        await init_app_state(llm, app.state, args, tasks)
        await self._lifespan.enter_async_context(app.router.lifespan_context(app))
        self.app, self._state = app, app.state
        self._engines_changed(self.switch.ready_engines())
        logger.info("model %s is served (tasks: %s)", self.name, ", ".join(tasks))

    async def _supported_tasks(self, llm: FleetLLM) -> tuple[SupportedTask, ...]:
        """An engine says it, and where the one that was asked goes, the next one does."""
        while True:
            self._changed.clear()
            try:
                return await llm.get_supported_tasks()
            except Exception as error:
                if self.switch.ready_engines() and not self._changed.is_set():
                    raise  # it is there, and does not like the question
                logger.info("model %s: asked again, for the engine has gone: %s", self.name, error)
            while not self.switch.ready_engines():
                self._changed.clear()
                await self._changed.wait()

    def _engines_changed(self, engines: int) -> None:
        """From the switch's thread."""
        self._loop.call_soon_threadsafe(self._update_available)

    def _update_available(self) -> None:
        self._changed.set()
        settled = self.ready or self.failure is not None  # a failure is answered at once, for good
        if self._available.is_set() and not settled:
            self._on_no_engine()
        (self._available.set if settled else self._available.clear)()

    async def ready_app(self, *, for_engine: bool = True) -> ASGIApp:
        """The app, once a request given to it would find an engine.

        Waiting here rather than in the switch leaves room for a proper 503: a stream whose headers
        are out can only end in an error event. Who waits counts as held, and wakes an engine where
        there is to be none (`scaling.min: 0`).

        A request that is not `for_engine` waits for the app alone, and wakes nobody.

        Raises:
            NoEngineError: no engine was ready within `hold_timeout_s`.
            ModelFailedError: the app could not be built.
        """
        if not self._available.is_set() and (for_engine or self.app is None):
            await self._wait_for_engine(for_engine)
        if self.failure is not None:
            raise ModelFailedError(self.failure)
        assert self.app is not None
        return self.app

    async def _wait_for_engine(self, counts: bool) -> None:
        self._held += counts
        try:
            await asyncio.wait_for(self._available.wait(), self._hold_timeout_s)
        except TimeoutError:
            raise NoEngineError(
                f"no engine of model {self.name!r} became available within "
                f"{self._hold_timeout_s:g} s; try again later",
                self.retry_after_s(self._hold_timeout_s),
            ) from None
        finally:
            self._held -= counts

    def retry_after_s(self, waited_s: float = 0.0) -> int:
        """When to try again: when an engine should be up that started so long ago. Where it should
        be up by now it has failed, and another has begun to start."""
        if self.ready or self.start_s is None:
            return RETRY_AFTER_S
        left_s = self.start_s - waited_s
        return max(RETRY_AFTER_S, math.ceil(left_s if left_s > 0 else self.start_s))

    def stats(self, gateway: str) -> ModelStats:
        """For the scaler, from the gateway of that id. A model that cannot be served here needs no
        engine to find out."""
        built = self.app is not None or self.failure is not None
        waiting, *more = (0,) if self._desk is None else self._desk.counts(self.name)
        signals = self.switch.counted(gateway, self._held + waiting, *more)
        return ModelStats(signals=signals, built=built)

    @property
    def held(self) -> int:
        """Requests that wait for an engine to be there."""
        return self._held

    def measured(self) -> Measured:
        """For the metrics. Blocks."""
        return self.switch.measured()

    @property
    def asleep(self) -> bool:
        """Whether there is to be no engine until somebody asks."""
        return self.scaled is not None and self.scaled.target == 0

    @property
    def ready(self) -> bool:
        """Whether a request sent now would find an engine."""
        return self.app is not None and self.switch.ready_engines() > 0

    async def fleet_row(self) -> dict[str, Any]:
        """The model as `GET /fleet` shows it."""
        snapshot = await asyncio.to_thread(self.switch.snapshot)
        backing_off = _wait_rows(self.backing_off, time.time())
        row = {
            "name": self.name,
            "deployment": self.deployment,
            "backing_off": backing_off,
            "scaling": None if self.scaled is None else msgspec.to_builtins(self.scaled),
            "held": self._held,
            "queue": None if self._desk is None else self._desk.row(self.name),
        }
        return row | snapshot

    @property
    def by_session(self) -> bool:
        """Whether requests of one session are to go to one engine."""
        return self._model.routing.policy == "session_affinity"

    def serves(self, model: str) -> bool:
        """Whether `model` is this model or one of its LoRA adapters."""
        if model == self.name:
            return True
        return self._state is not None and model in self._state.openai_serving_models.lora_requests

    async def model_cards(self) -> list[dict[str, Any]]:
        """Entries of `GET /v1/models`: vLLM's own, once built (it adds LoRA adapters)."""
        if self._state is None:
            return [{"id": self.name, "object": "model", "created": 0, "owned_by": "vllm"}]
        cards = await self._state.openai_serving_models.show_available_models()
        return [card.model_dump() for card in cards.data]

    async def close(self) -> None:
        """Stop the app and the switch."""
        membership.unsubscribe(self.name)
        await self._lifespan.aclose()
        self.switch.stop()


def _nobody_hears(_news: FlightNews) -> None: ...


def _wait_rows(waits: Sequence[Wait], now_s: float) -> list[dict[str, Any]]:
    """The engines that still wait, as `GET /fleet` shows them."""
    return [
        {
            "engine": wait.engine_id,
            "waits_s": round(wait.until_s - now_s, 1),
            "young_deaths": wait.young_deaths,
        }
        for wait in waits
        if wait.until_s > now_s
    ]
