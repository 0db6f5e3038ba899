"""`serve_app:build`: the Serve application of a spec, for `serve run`, `serve build`, `deploy`."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig

from cluster.spec import ClusterSpec, ModelSpec, load, resolve_devices
from serve_app import engine_args, examples, membership, settings
from serve_app.engine import Engine
from serve_app.gateway import Gateway

logger = logging.getLogger("ray.serve")

ENGINE_HEALTH_PERIOD_S = 2.0
"""How soon Serve starts replacing an engine whose core died; the check costs microseconds."""

GRACEFUL_SHUTDOWN_S = 120.0


def build(args: dict[str, str]) -> Any:
    """The application for `spec=<path or example name>`.

    Raises SpecError with every violation, vLLM's included, before anything is started.
    """
    spec = resolve_devices(load(examples.find(args["spec"])), gpu_build=settings.gpu_build())
    engine_args.check(spec)
    serve.start(
        http_options={"host": spec.ports.host, "port": int(args.get("port", spec.ports.http))}
    )
    return application(spec)


def application(spec: ClusterSpec) -> Any:
    """Engines of every model behind the gateways."""
    raw = spec.model_dump(mode="json")
    engines: dict[str, Any] = {
        f"engines_{index}": _engine(raw, model) for index, model in enumerate(spec.models)
    }
    gateway = serve.deployment(
        Gateway,
        name="Gateway",
        num_replicas=spec.gateway.replicas,
        max_ongoing_requests=spec.gateway.max_ongoing_requests,
        graceful_shutdown_timeout_s=GRACEFUL_SHUTDOWN_S,
        ray_actor_options={
            "num_cpus": spec.gateway.cpus,
            "runtime_env": {"env_vars": _GATEWAY_ENV | spec.gateway.env},
        },
    )
    return gateway.bind(raw, **engines)


# vLLM resolves its platform when imported; a gateway has no use for a GPU, and on a node without
# one the CUDA build would find no platform at all. The cache size only silences a warning.
_GATEWAY_ENV = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1"}


def _engine(raw: dict[str, Any], model: ModelSpec) -> Any:
    deployment = serve.deployment(
        Engine,
        name=f"Engine:{model.name}".replace("/", "--"),
        num_replicas=model.replicas,
        health_check_period_s=ENGINE_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=GRACEFUL_SHUTDOWN_S,
        request_router_config=RequestRouterConfig(
            request_router_class="serve_app.membership:MembershipRouter",
            request_router_kwargs={membership.MODEL_KEY: model.name},
        ),
        ray_actor_options=_engine_actor(model),
    )
    return deployment.bind(raw, model.name)


def _engine_actor(model: ModelSpec) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_cpus": model.resources.cpus,
        "num_gpus": model.gpus_per_replica,
        "runtime_env": {"env_vars": dict(model.env)},
    }
    if model.resources.accelerator_type is not None:
        options["accelerator_type"] = model.resources.accelerator_type
    return options
