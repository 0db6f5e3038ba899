"""`serve_app:build`: the Serve application of a spec, for `serve run`, `serve build`, `deploy`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import yaml
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import LoggingConfig

from cluster.admission.keyless import everyone
from cluster.spec import ClusterSpec, ModelSpec, SpecError, load, parse, resolve_devices
from serve_app import examples, membership, scaling_config, settings, tenants_file
from serve_app.code_version import versioned
from serve_app.deployments import GATEWAYS, engines_deployment
from serve_app.ingress import start_http
from serve_app.limit_shares import DEPLOYMENT as LIMITS
from serve_app.limit_shares import LimitShares
from serve_app.logs import LEAVE_HANDLERS_ENV
from serve_app.replicas import Engine, Gateway
from serve_app.vllm_check import checking

logger = logging.getLogger("ray.serve")

ENGINE_HEALTH_PERIOD_S = 2.0
"""How soon Serve starts replacing an engine whose core died; the check costs microseconds."""

STOP_S = 20.0
"""What a replica may take to stop once it is drained."""


def build(args: dict[str, Any]) -> Any:
    """The application of `spec=<path or example name>`, on `port=` where that is given.

    In a config file for `serve deploy`, `spec` may be the spec itself: Serve compares arguments,
    and does not see that a file behind a path has changed.

    Raises SpecError with every violation, and ValueError for a bad TOKENFLEET_WIRE_SECRET, before
    anything is started; what vLLM finds wrong, before anything is that outlives this process.
    """
    settings.wire_secrets()  # a bad one is better known now than from replicas that do not start
    settings.refuse_vllm_key()
    spec = _load(args)
    with checking(spec) as checked:
        start_http(spec, checked)
    if not spec.has_tenants:
        logger.warning(everyone(f"{spec.ports.host}:{spec.ports.http}"))
    if not settings.haproxy_mode():
        logger.warning(_PYTHON_PROXY)
    elif settings.haproxy_binary() is None:
        logger.warning(_SPLICING_HAPROXY)
    return application(spec)


def app_from_environment() -> Any:
    """The application of the spec that TOKENFLEET_SPEC names (default: the first example).

    For `serve build`, which takes no arguments and starts nothing.
    """
    spec = _load({"spec": settings.spec_of_environment() or examples.DEFAULT})
    with checking(spec) as checked:
        checked()
    return application(spec)


def _load(args: dict[str, Any]) -> ClusterSpec:
    """The spec that the arguments mean, vLLM not asked. Raises SpecError."""
    if unknown := args.keys() - {"spec", "port"}:
        raise SpecError([(name, "unknown argument; there are spec and port") for name in unknown])
    given = args.get("spec", examples.DEFAULT)
    spec = parse(given) if isinstance(given, Mapping) else load(examples.find(given))
    if "port" in args:
        raw = spec.model_dump()
        raw["ports"]["http"] = yaml.safe_load(str(args["port"]))
        spec = parse(raw)
    spec = resolve_devices(spec, gpu_build=settings.gpu_build())
    tenants_file.check(spec)
    return spec


_PYTHON_PROXY = (
    "Ray Serve's Python proxy is the ingress: it carries fewer chunks a second than HAProxy, "
    "with several times the time to first token under load. For HAProxy set "
    "RAY_SERVE_ENABLE_HA_PROXY=1 in the environment of every Ray process (`ray start` and "
    "`serve run`); its binary comes with ray[serve]."
)

_SPLICING_HAPROXY = (
    "Ray Serve starts HAProxy as it is: a client that leaves before its answer begins is then not "
    "always noticed, and costs a core until the answer is there. Set "
    f"{settings.HAPROXY_BINARY_ENV}=$(command -v tokenfleet-haproxy) in the environment of every "
    "Ray process."
)


def application(spec: ClusterSpec) -> Any:
    """Engines of every model behind the gateways."""
    engines: dict[str, Any] = {
        f"engines_{index}": _engine(spec, model) for index, model in enumerate(spec.models)
    }
    gateway = serve.deployment(
        Gateway,
        name=GATEWAYS,
        autoscaling_config=scaling_config.of_gateways(spec.gateway),
        max_ongoing_requests=spec.gateway.max_ongoing_requests,
        graceful_shutdown_timeout_s=spec.failover.drain_timeout_s + STOP_S,
        ray_actor_options={
            "num_cpus": spec.gateway.cpus,
            "runtime_env": {"env_vars": _REPLICA_ENV | _GATEWAY_ENV | spec.gateway.env},
        },
        logging_config=LoggingConfig(enable_access_log=False),  # HAProxy and vLLM have metrics
    )
    read = spec.model_dump(mode="json", exclude=_NOT_READ_BY_GATEWAYS)
    return versioned(gateway, read).bind(read, **_limits(spec), **engines)


def _limits(spec: ClusterSpec) -> dict[str, Any]:
    """What divides the tenants' limits among the gateways, where there are tenants."""
    if not spec.has_tenants:
        return {}
    limits = serve.deployment(
        LimitShares,
        name=LIMITS,
        num_replicas=1,
        max_ongoing_requests=1000,  # a report takes microseconds
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": _REPLICA_ENV}},
    )
    return {"limits": versioned(limits).bind()}


# A replica's constructor gets the part of the spec that it reads and no more: Serve replaces every
# replica whose arguments changed. How many replicas there are and where the ingress listens is
# Serve's to know, a process's environment is in its actor's options.
_NOT_READ_BY_ENGINES: dict[str, Any] = {
    "models": {"__all__": {"replicas", "routing", "scaling", "slo", "max_wait_s"}},
    "gateway": True,
    "ports": {"http", "host"},
    "tenants": True,
    "tenants_file": True,
}
_NOT_READ_BY_GATEWAYS: dict[str, Any] = {
    "models": {"__all__": {"replicas", "env", "scaling"}},
    "gateway": {"replicas", "scaling"},
    "ports": {"http", "host"},
}


# Serve runs user code on a second event loop by default; every chunk would cross threads.
_REPLICA_ENV = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"} | LEAVE_HANDLERS_ENV

# On SIGTERM Ray kills the children of a worker first, while streams have yet to leave the engine.
# The core needs no such end: the kernel ends it with its host (see vllm_plugin).
_ENGINE_ENV = {"RAY_kill_child_processes_on_worker_exit": "false"}

# vLLM resolves its platform when imported; a gateway has no use for a GPU, and on a node without
# one the CUDA build would find no platform at all. The cache size only silences a warning.
_GATEWAY_ENV = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1"}


def _engine(spec: ClusterSpec, model: ModelSpec) -> Any:
    deployment = serve.deployment(
        Engine,
        name=engines_deployment(model.name),
        **_size(model),
        health_check_period_s=ENGINE_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=spec.failover.drain_timeout_s + STOP_S,
        request_router_config=RequestRouterConfig(
            request_router_class="serve_app.membership:MembershipRouter",
            request_router_kwargs={membership.MODEL_KEY: model.name},
        ),
        ray_actor_options=_engine_actor(model),
    )
    alone = spec.model_copy(update={"models": (model,)})
    read = alone.model_dump(mode="json", exclude=_NOT_READ_BY_ENGINES)
    return versioned(deployment, read).bind(read, model.name)


def _size(model: ModelSpec) -> dict[str, Any]:
    """How many engines, as Serve takes it."""
    if model.scaling is None:
        return {"num_replicas": model.replicas}
    return {"autoscaling_config": scaling_config.of_engines(model)}


def _engine_actor(model: ModelSpec) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_cpus": model.resources.cpus,
        "num_gpus": model.gpus_per_replica,
        "runtime_env": {"env_vars": _REPLICA_ENV | _ENGINE_ENV | model.env},
    }
    if model.resources.accelerator_type is not None:
        options["accelerator_type"] = model.resources.accelerator_type
    return options
