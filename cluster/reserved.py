"""Keys of `engine:` and `api:` that Tokenfleet sets itself, or that mean nothing behind it.

Tables of key -> reason; the reason is what the user reads. Names are vLLM 0.32.0's. Everything not
listed passes through, `logits_processors` included: Tokenfleet appends its own to the user's.
"""

from collections.abc import Mapping
from typing import Any

from cluster.spec_errors import Violation

_SERVE_PLACES = "Ray Serve places engines; a larger engine sets tensor_parallel_size"
_MULTI_NODE = "an engine larger than a node sets distributed_executor_backend: ray"
_REPLICAS = "set replicas: each replica is a whole engine, and Tokenfleet balances over them"
_ENDPOINT = "the cluster has one endpoint: set ports.http and ports.host"
_PROXY = "Ray Serve's ingress owns the HTTP server"
_TLS = "end TLS in front of the cluster"

ENGINE: Mapping[str, str] = {
    "model": "set source",
    "served_model_name": "set name",
    "device_ids": _SERVE_PLACES,
    "master_addr": _MULTI_NODE,
    "master_port": _MULTI_NODE,
    "nnodes": _MULTI_NODE,
    "node_rank": _MULTI_NODE,
    "data_parallel_rank": _REPLICAS,
    "data_parallel_start_rank": _REPLICAS,
    "data_parallel_size_local": _REPLICAS,
    "data_parallel_address": _REPLICAS,
    "data_parallel_rpc_port": _REPLICAS,
    "data_parallel_hybrid_lb": _REPLICAS,
    "data_parallel_external_lb": _REPLICAS,
    "data_parallel_multi_port_external_lb": _REPLICAS,
    "data_parallel_backend": _REPLICAS,
    "_api_process_count": "vLLM's own; set gateway.replicas",
    "_api_process_rank": "vLLM's own; set gateway.replicas",
}

API: Mapping[str, str] = {
    "host": _ENDPOINT,
    "port": _ENDPOINT,
    "uds": _ENDPOINT,
    "grpc": _ENDPOINT,
    "grpc_port": _ENDPOINT,
    "ssl_keyfile": _TLS,
    "ssl_certfile": _TLS,
    "ssl_ca_certs": _TLS,
    "ssl_cert_reqs": _TLS,
    "ssl_ciphers": _TLS,
    "enable_ssl_refresh": _TLS,
    "root_path": _PROXY,
    "uvicorn_log_level": _PROXY,
    "disable_uvicorn_access_log": _PROXY,
    "disable_access_log_for_endpoints": _PROXY,
    "h11_max_incomplete_event_size": _PROXY,
    "h11_max_header_count": _PROXY,
    "middleware": "not supported: it would run inside one model's app only",
    "api_key": "one key would guard one model's app only; name tenants",
    "api_server_count": "set gateway.replicas",
    "headless": "every engine here is headless",
    "config": "the spec is the configuration",
    "model_tag": "set source",
    "data_parallel_supervisor_port": _REPLICAS,
    "dp_supervisor_probe_interval_s": _REPLICAS,
    "dp_supervisor_probe_timeout_s": _REPLICAS,
    "dp_supervisor_probe_failure_threshold": _REPLICAS,
}

_PARALLEL_SIZES = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
)


def reserved_engine(engine: Mapping[str, Any]) -> list[Violation]:
    """Violations of `engine:` that need no vLLM to see."""
    found = _reserved(engine, ENGINE)
    if engine.get("data_parallel_size", 1) != 1:
        found.append(Violation(("data_parallel_size",), f"must be 1: {_REPLICAS}"))
    for key in _PARALLEL_SIZES:
        size = engine.get(key, 1)
        if type(size) is not int or size < 1:
            found.append(Violation((key,), f"{size!r} is not an integer of at least 1"))
    return found


def reserved_api(api: Mapping[str, Any]) -> list[Violation]:
    """Violations of `api:` that need no vLLM to see."""
    return _reserved(api, API)


def _reserved(given: Mapping[str, Any], table: Mapping[str, str]) -> list[Violation]:
    """Nulls too: in YAML they are nearly always a forgotten value, and vLLM's default is what
    leaving the key out gives."""
    found = [Violation((k,), f"not yours to set: {table[k]}") for k in given if k in table]
    empty = [k for k, value in given.items() if value is None and k not in table]
    return found + [Violation((k,), "has no value; leave it out for vLLM's default") for k in empty]
