"""A gateway's models for real (vLLM's own apps over switches), with fake engines under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from vllm.v1.engine import EngineCoreReadyResponse

from cluster import spec as cluster_spec
from cluster.admission.tenants import OPEN, Tenant
from serve_app import membership
from serve_app.access_control import AccessControl
from serve_app.admission_desk import AdmissionDesk
from serve_app.gateway import Shell
from serve_app.kept_streams import KeptStreams
from serve_app.model_app import ModelApp
from serve_app.resumable import Resumable
from serve_app.served_request import ServedRequest
from serve_app.tracing import Tracing
from serve_app.usage_route import UsageRoute
from tests.serve_app.asgi_call import AsgiCall
from tests.serve_app.builders import KEYS
from tests.serve_app.fake_core import HostThread
from tests.serve_app.stub_models import no_peer, no_usage
from tests.waiting import eventually

CHAT = "/v1/chat/completions"
BUILD_DEADLINE_S = 120.0

SPEC = {
    "models": [
        {"name": "demo", "source": "demo"},
        {"name": "short", "source": "demo", "engine": {"max_model_len": 512}},
        {"name": "embedder", "source": "demo", "engine": {"runner": "pooling"}},
    ],
    "failover": {"hold_timeout_s": 1.0},
}
KINDS = {"demo": (2048, "generate"), "short": (512, "generate"), "embedder": (2048, "embed")}
"""What an engine of each model says: the context it settled on, and its task."""


def core_ready(max_model_len: int) -> bytes:
    """What an engine core of the demo model says when it is ready."""
    return msgspec.msgpack.encode(
        EngineCoreReadyResponse(
            max_model_len=max_model_len,
            num_gpu_blocks=1000,
            block_size=32,
            dp_stats_address=None,
            dtype="float32",
            vllm_version="",
            world_size=1,
            data_parallel_size=1,
            tensor_parallel_size=1,
            pipeline_parallel_size=1,
            decode_context_parallel_size=1,
            data_parallel_rank=0,
            max_num_seqs=128,
            max_num_batched_tokens=2048,
            instance_id="fake",
            supports_lora=False,
            max_loras=0,
        )
    )


class ModelFleet:
    """The models of SPEC (default: all) behind a Shell; engines come and go per test. `tenants`
    None: everyone may ask."""

    def __init__(
        self,
        *names: str,
        tenants: Sequence[Tenant] | None = None,
        tracing: Tracing | None = None,
        **spec: Any,
    ) -> None:
        models = [model for model in SPEC["models"] if not names or model["name"] in names]
        parsed = cluster_spec.parse({**SPEC, "models": models, **spec})
        self.emptied: list[str] = []  # models that have lost their last engine, one after the other
        self.served: list[ServedRequest] = []
        self.desk = AdmissionDesk(
            parsed,
            gateway="here",
            tenants=tenants or [OPEN],
            on_served=self.served.append,
            tracing=tracing,
        )
        self.models = {
            model.name: ModelApp(
                parsed, model, KEYS.own, partial(self.emptied.append, model.name), self.desk
            )
            for model in parsed.models
        }
        resumable = Resumable(KeptStreams("here", 1_000_000, BUILD_DEADLINE_S), no_peer)
        access, usage = AccessControl(tenants), UsageRoute(no_usage)
        self.shell = Shell(self.models, 1_000_000, resumable, access, usage, self.desk)
        self._hosts: dict[str, list[HostThread]] = {name: [] for name in self.models}
        self._names = 0
        self._tasks = [asyncio.ensure_future(model.run()) for model in self.models.values()]

    async def start(self, model: str, count: int = 1, **core: Any) -> list[HostThread]:
        """New engines of a model, ready when this returns."""
        hosts = [self._host(model, **core) for _ in range(count)]
        self._hosts[model] += hosts
        await self._announce(model)
        return hosts

    def _host(self, model: str, **core: Any) -> HostThread:
        self._names += 1
        max_model_len, task = KINDS[model]
        ready = core_ready(max_model_len)
        return HostThread(f"{model}-{self._names}", core_ready=ready, task=task, **core)

    async def remove(self, model: str, *hosts: HostThread) -> None:
        """Serve no longer lists these (default: any); their processes end."""
        gone = list(hosts or self._hosts[model])
        self._hosts[model] = [host for host in self._hosts[model] if host not in gone]
        await self._announce(model)
        for host in gone:
            await asyncio.to_thread(host.close)

    async def _announce(self, model: str) -> None:
        hosts = self._hosts[model]
        membership.publish(model, {host.engine_id: host.address for host in hosts})
        switch = self.models[model].switch
        await eventually(lambda: switch.ready_engines() == len(hosts))

    async def built(self) -> None:
        """Every model's app is there."""
        models = self.models.values()
        await eventually(lambda: all(m.app is not None for m in models), within_s=BUILD_DEADLINE_S)

    def running(self, model: str) -> HostThread:
        """The engine that has the (only) request."""
        (host,) = [host for host in self._hosts[model] if host.core.running]
        return host

    def chat(
        self, model: str = "demo", headers: dict[str, str] | None = None, **request: Any
    ) -> AsgiCall:
        """A chat completion, through the Shell; streamed unless told otherwise."""
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 20}
        return AsgiCall(self.shell, CHAT, {**body, "stream": True, **request}, headers)

    def embed(self) -> AsgiCall:
        return AsgiCall(self.shell, "/v1/embeddings", {"model": "embedder", "input": "hello"})

    async def close(self) -> None:
        for model in self.models:
            await self.remove(model)
            await self.models[model].close()
        for task in self._tasks:
            await task


@asynccontextmanager
async def built_fleet(*names: str, **more: Any) -> AsyncIterator[ModelFleet]:
    """A fleet whose apps are built, and which has no engine left."""
    fleet = ModelFleet(*names, **more)
    for model in fleet.models:
        await fleet.start(model)
    await fleet.built()
    for model in fleet.models:
        await fleet.remove(model)
    yield fleet
    await fleet.close()
