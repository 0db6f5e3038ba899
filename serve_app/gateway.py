"""A gateway replica: HTTP in front of every model's vLLM app, in one process without a GPU.

First of all it is found out who asks, and whether they may (`access_control`).

Own routes: `GET /health` (the process), `/ready` (every model has an engine, or is to have none
until somebody asks), `/fleet` (engines and flights), `/fleet/ui` (the same as a page), `/metrics`,
`/v1/models`, `/usage` (what the caller used), and `POST /fleet/explain` (see `explaining`).
Everything else goes, unread but for its model's name and whether it is to stream, to that model's
vLLM app.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from vllm import envs

from cluster import spec as cluster_spec
from cluster.admission.tenants import OPEN
from cluster.scaling.gateway_scaler import GatewayLoad
from serve_app import deployments, request_log, wire_secret
from serve_app.access_control import AccessControl
from serve_app.admission_desk import AdmissionDesk
from serve_app.admitted_answer import AdmittedAnswer, refusal
from serve_app.caller import CALLER
from serve_app.dispatch import (
    BODYLESS_METHODS,
    ClientGoneError,
    UnreadableBodyError,
    name_session,
    named_model,
    read_body,
    replayed,
    run_app,
)
from serve_app.errors import (
    GatewayError,
    ModelNeededError,
    NoEngineError,
    UnknownModelError,
)
from serve_app.explaining import EXPLAIN_PATH, asked_scope, understood
from serve_app.fleet_page import PAGE_PATH, page_response
from serve_app.gateway_metrics import GatewayMetrics
from serve_app.held_requests import asks_for_stream, run_when_ready
from serve_app.kept_streams import KeptStreams
from serve_app.logs import configure_logging
from serve_app.loop_lag import LoopLag
from serve_app.metrics import metrics_text
from serve_app.model_app import ModelApp
from serve_app.open_files import make_room
from serve_app.peers import Part, peer_read, read_for_peer
from serve_app.resumable import Resumable, asks_for_ids, last_event_id
from serve_app.route_access import MODELS_PATH, READING, USAGE_PATH
from serve_app.scaling_stats import GatewayStats, gateway_stats
from serve_app.served_request import ServedRequest
from serve_app.sse_events import EventId
from serve_app.tenancy import Tenancy
from serve_app.ticket import Ticket
from serve_app.tracing import Tracing
from serve_app.usage_book import Counted
from serve_app.usage_route import UsageRoute, usage_of_all

logger = logging.getLogger("tokenfleet.gateway")

BYTES_PER_MB = 1_000_000
MODEL_FREE_PATHS = frozenset({"/version", "/ping"})
"""Answered alike by every model's app, so by the first."""


@dataclass(frozen=True, slots=True)
class _Picked:
    """The model that a request is for, its body, None where its method has none, and a `receive`
    from which it can still be read."""

    model: ModelApp
    body: bytes | None
    receive: Receive


class Shell:
    """The ASGI app: own routes, else the model's app. `streams`: how many of the latter it answers
    now, those that wait for an engine included."""

    def __init__(
        self,
        models: dict[str, ModelApp],
        max_body_bytes: int,
        resumable: Resumable,
        access: AccessControl,
        usage: UsageRoute,
        desk: AdmissionDesk | None = None,
        name: str = "here",
        on_answer: Callable[[str, str, int], None] = lambda model, path, status: None,
    ) -> None:
        self._on_answer = on_answer
        self._models = models
        self._name = name
        self._desk = desk
        self._access = access
        self._max_body_bytes = max_body_bytes
        self._resumable = resumable
        self.streams = 0
        self._routes: dict[str, Callable[[Scope], Awaitable[Response]]] = {
            USAGE_PATH: usage.answer,
            "/health": self._health,
            "/ready": self._ready,
            "/fleet": self._fleet,
            PAGE_PATH: self._page,
            "/metrics": self._metrics,
            MODELS_PATH: self._list_models,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        try:
            caller = self._access.caller(scope)
        except GatewayError as error:
            await refusal(error)(scope, receive, send)
            return
        before = CALLER.set(caller)
        try:
            await self._admitted(scope, receive, send)
        finally:
            CALLER.reset(before)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever asks may do so."""
        own = self._own_route(scope)
        if own is not None:
            await (await own(scope))(scope, receive, send)
            return
        self.streams += 1
        try:
            await self._answer(scope, receive, send)
        except ClientGoneError:
            return
        except GatewayError as error:
            await refusal(error)(scope, receive, send)
        finally:
            self.streams -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises GatewayError, before anything was sent."""
        if (event_id := last_event_id(scope)) is not None:
            await self._resumable.resume(event_id, receive, send)
            return
        if scope["type"] == "http" and scope["path"] == EXPLAIN_PATH:
            await self._explain(scope, receive, send)
            return
        picked = await self._pick(scope, receive)
        answer = self._resumable.answer if asks_for_ids(scope) else run_app

        async def run(app: ASGIApp, send: Send) -> None:
            ticket = self._ticket(picked)
            told = partial(self._on_answer, picked.model.name, scope["path"])
            admitted = AdmittedAnswer(send, ticket, picked.model.retry_after_s, told)
            if ticket is not None:
                app = partial(ticket.run, app)
            try:
                await answer(app, scope, picked.receive, admitted)
            finally:
                await admitted.close()

        if picked.body is None or picked.model.ready:
            for_engine = picked.body is not None or scope["type"] == "websocket"
            await run(await picked.model.ready_app(for_engine=for_engine), send)
            return
        keep_alive = asks_for_stream(picked.body)
        ready = picked.model.ready_app()
        await run_when_ready(ready, run, receive, send, keep_alive=keep_alive)

    def _ticket(self, picked: _Picked) -> Ticket | None:
        """For what may give an engine something to do."""
        if self._desk is None or picked.body is None:
            return None
        return self._desk.ticket(picked.model.name, CALLER.get().tenant)

    def _own_route(self, scope: Scope) -> Callable[[Scope], Awaitable[Response]] | None:
        if scope.get("method") not in READING:
            return None
        path: str = scope["path"]
        if path.startswith(f"{MODELS_PATH}/"):  # the SDK's models.retrieve; vLLM has only a list
            return self._one_model
        return self._routes.get(path)

    async def _explain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the explanation, or with what the model's app says is wrong with the body."""
        body = await read_body(scope, receive, self._max_body_bytes)
        asked = asked_scope(scope, body)
        picked = await self._pick(scope, replayed(body, receive))
        model = picked.model
        run = partial(run_app, await model.ready_app(for_engine=False))  # to ask wakes none
        request, said = await understood(run, {**scope, **asked}, picked.receive)
        if request is None:
            answer = AdmittedAnswer(send, None, model.retry_after_s)
            for message in said:
                await answer(message)
            return
        explanation = await asyncio.to_thread(model.switch.explain, request)
        if explanation is None:
            raise NoEngineError(f"no engine of model {model.name!r} can take a request now")
        await JSONResponse(explanation)(scope, receive, send)

    async def _pick(self, scope: Scope, receive: Receive) -> _Picked:
        body = None
        if scope["type"] == "http" and scope["method"] not in BODYLESS_METHODS:
            body = await read_body(scope, receive, self._max_body_bytes)
            receive = replayed(body, receive)
        try:
            model = self._model_for(scope, await named_model(scope, body or b""))
        except UnreadableBodyError:  # every model's app refuses it alike
            model = self._any_allowed
        if model.by_session:
            name_session(scope, body or b"")
        return _Picked(model, body, receive)

    @property
    def _allowed(self) -> list[ModelApp]:
        """The models that the caller may use, in the spec's order."""
        tenant = CALLER.get().tenant
        return [model for model in self._models.values() if tenant.may_use(model.name)]

    @property
    def _any_allowed(self) -> ModelApp:
        """The first of them. Raises UnknownModelError where the caller may use none."""
        for model in self._allowed:
            return model
        raise UnknownModelError("There is no model that this API key may use.")

    def _model_for(self, scope: Scope, name: str | None) -> ModelApp:
        if name is None:
            return self._model_of_nameless(scope)
        for model in self._allowed:
            if model.serves(name):
                return model
        raise self._unknown(name)

    def _model_of_nameless(self, scope: Scope) -> ModelApp:
        if scope["path"] in MODEL_FREE_PATHS or scope.get("method") == "OPTIONS":
            return next(iter(self._models.values()))
        allowed = self._allowed
        if len(allowed) > 1:
            raise ModelNeededError(
                f"several models are served ({', '.join(model.name for model in allowed)}); "
                "name one, in the body or with ?model="
            )
        return self._any_allowed

    def _unknown(self, name: str) -> UnknownModelError:
        aliases = ", ".join(model.name for model in self._allowed)
        return UnknownModelError(f"The model `{name}` does not exist. Valid aliases: {aliases}.")

    async def _health(self, scope: Scope) -> Response:
        return Response(status_code=200)

    async def _ready(self, scope: Scope) -> Response:
        engines = {name: model.switch.ready_engines() for name, model in self._models.items()}
        ready = all(model.ready or model.asleep for model in self._models.values())
        failures = {name: m.failure for name, m in self._models.items() if m.failure is not None}
        answer = {"ready": ready, "engines": engines, "failures": failures}
        return JSONResponse(answer, 200 if ready else 503)

    async def _fleet(self, scope: Scope) -> Response:
        rows = await asyncio.gather(*(model.fleet_row() for model in self._models.values()))
        return JSONResponse({"gateway": self._name, "models": rows})

    async def _page(self, scope: Scope) -> Response:
        return page_response()

    async def _metrics(self, scope: Scope) -> Response:
        """This process's metrics and every model's; vLLM's carry a `model_name` label."""
        registries = [REGISTRY, *(model.registry for model in self._models.values())]
        return Response(metrics_text(registries), media_type=CONTENT_TYPE_LATEST)

    async def _list_models(self, scope: Scope) -> Response:
        return JSONResponse({"object": "list", "data": await self._cards()})

    async def _one_model(self, scope: Scope) -> Response:
        name = scope["path"].removeprefix(f"{MODELS_PATH}/")
        for card in await self._cards():
            if card["id"] == name:
                return JSONResponse(card)
        return refusal(self._unknown(name))

    async def _cards(self) -> list[dict[str, Any]]:
        return [card for model in self._allowed for card in await model.model_cards()]


async def _lifespan(receive: Receive, send: Send) -> None:
    """The apps have their own lifespans, run by `ModelApp`; the shell has nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class GatewayReplica:
    """What is behind a gateway replica: `app` answers from `start` on, and models come in as their
    engines get ready."""

    async def start(
        self,
        spec: dict[str, Any],
        limits: DeploymentHandle | None,
        engines: Mapping[str, DeploymentHandle],
    ) -> None:
        """`limits` and `engines`: the other deployments, the latter for each model."""
        configure_logging()
        parsed = cluster_spec.parse(spec)
        context = serve.get_replica_context()
        self._name, app = context.replica_id.unique_id, context.app_name
        begin = partial(Tenancy.open, parsed, gateway=self._name, app=app, limits=limits)
        self._tenancy = await asyncio.to_thread(begin)
        make_room(parsed.gateway.max_ongoing_requests, "gateway.max_ongoing_requests")
        keys = (await asyncio.to_thread(wire_secret.keys)).own
        look_again = asyncio.Event()
        self._metrics, self._tracing = GatewayMetrics(), Tracing.of_environment()
        self._desk = AdmissionDesk(
            parsed,
            gateway=self._name,
            tenants=self._tenancy.tenants,
            on_served=self._on_served,
            tracing=self._tracing,
        )
        self._models = {
            model.name: ModelApp(parsed, model, keys, look_again.set, self._desk)
            for model in parsed.models
        }
        self._streams = _kept_streams(parsed.gateway)
        self._resumable = Resumable(self._streams, peer_read(_gateways))
        max_body_bytes = round(parsed.gateway.max_body_mb * BYTES_PER_MB)
        usage = UsageRoute(usage_of_all(_gateways, app))
        self._shell = Shell(
            self._models,
            max_body_bytes,
            self._resumable,
            self._tenancy.access,
            usage,
            self._desk,
            self._name,
            self._metrics.answered,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._spawn(self._tenancy.run(self._desk))
        self._spawn(self._build_models())
        self._lag = LoopLag()
        self._spawn(self._lag.watch())
        self._spawn(self._metrics.watch(self._models.values(), self._desk.row, self._load))
        look = partial(deployments.look, app)
        self._spawn(deployments.watch(self._models.values(), look, look_again, self._have_gateways))
        # A handle follows the replica set from its first use on. A call would do too, but where
        # there is no engine it would wait, and Serve would start one for it.
        self._engines = [handle.options() for handle in engines.values()]

    def _load(self) -> GatewayLoad:
        return GatewayLoad(streams=self._shell.streams, loop_lag_s=self._lag.lag_s)

    def _on_served(self, served: ServedRequest) -> None:
        self._tenancy.usage.told(served)
        self._metrics.served(served)
        request_log.log(served)

    async def _build_models(self) -> None:
        await asyncio.gather(*(model.run() for model in self._models.values()))
        # vLLM reads the environment for every token; its engines stop that once they have started.
        envs.enable_envs_cache()

    def _have_gateways(self, count: int) -> None:
        """So many divide the engines' room."""
        self._desk.share_room(1 / count)

    @property
    def app(self) -> ASGIApp:
        return self._shell

    def check_health(self) -> None:
        """Raises RuntimeError where every model has failed: not for one of several, since the
        others' streams would be cut."""
        failures = [model.failure for model in self._models.values()]
        if all(failures):
            raise RuntimeError("; ".join(str(failure) for failure in failures))

    def scaling_stats(self) -> dict[str, float]:
        """What the scalers are told: what is asked for, and how this gateway bears it."""
        models = {model.name: model.stats(self._name) for model in self._models.values()}
        return gateway_stats(GatewayStats(load=self._load(), models=models))

    async def read_stream(
        self, last: EventId, number: int | None, tenant: str = OPEN.name
    ) -> Part | None:
        """For another gateway's client, see `serve_app.peers`."""
        return await read_for_peer(self._streams, last, number, tenant)

    def usage(self) -> Counted:
        """For the gateway that is asked, see `serve_app.usage_route`."""
        return self._tenancy.usage.counted()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Whether or not `start` came to its end."""
        for task in getattr(self, "_tasks", ()):
            task.cancel()
        if hasattr(self, "_resumable"):
            self._resumable.close()
        for model in getattr(self, "_models", {}).values():
            await model.close()
        if hasattr(self, "_tenancy"):
            await self._tenancy.close(self._name)
        if hasattr(self, "_tracing"):
            await asyncio.to_thread(self._tracing.stop)


def _kept_streams(gateway: cluster_spec.GatewaySpec) -> KeptStreams:
    return KeptStreams(
        owner=serve.get_replica_context().replica_id.unique_id,
        limit_bytes=round(gateway.resume_buffer_mb * BYTES_PER_MB),
        window_s=gateway.resume_window_s,
    )


@cache  # made when first needed: a handle costs a subscription
def _gateways() -> DeploymentHandle:
    """All replicas of the deployment that this process is one of."""
    context = serve.get_replica_context()
    return serve.get_deployment_handle(context.deployment, context.app_name)
