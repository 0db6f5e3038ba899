"""The allow-list of routes beside the routes that vLLM really has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import WebSocketRoute
from vllm import envs
from vllm.entrypoints.launchers.app import build_app

from cluster import spec as cluster_spec
from serve_app import engine_args
from serve_app.route_access import INFERENCE_PATHS, Need, need_of

OPERATIONAL = {
    "/abort_requests", "/adapters", "/adapters/{adapter_name}", "/collective_rpc",
    "/finish_weight_update", "/get_world_size",
    "/inference/v1/abort_requests", "/init_weight_transfer_engine", "/is_paused",
    "/is_scaling_elastic_ep", "/is_sleeping", "/kv_event_sources", "/load", "/metrics", "/pause",
    "/release_kv_cache_memory", "/reset_encoder_cache", "/reset_mm_cache", "/reset_prefix_cache",
    "/resume", "/scale_elastic_ep", "/server_info", "/shutdown_weight_transfer_engine", "/sleep",
    "/start_draft_weight_update", "/start_weight_update", "/update_weight_version",
    "/update_weights", "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/wake_up",
    "/weight_checker", "/weight_info", "/tokenizer_info",
}  # fmt: skip
"""Of vLLM 0.32.0, all of them, with its development mode on."""

NEVER_BUILT = {"/cohere/v2/chat", "/cohere/v2/chat/render"}
"""Where Cohere's own package is not installed."""

TASKS = (
    ("generate", "transcription", "realtime", "render"),
    ("embed", "token_embed", "classify"),
)

POOLS: Any = SimpleNamespace(
    get_pooling_task=lambda tasks: "embed" if "embed" in tasks else None,
    hf_config=SimpleNamespace(num_labels=1),
)
"""As much of a model's configuration as these routes depend on."""


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """Of all the apps that vLLM makes for a model."""
    spec = cluster_spec.parse({"models": [{"name": "demo", "source": "demo"}]})
    args = engine_args.api_server_args(spec.models[0].on_device(False))
    args.enable_tokenizer_info_endpoint = True
    patch = pytest.MonkeyPatch()
    patch.setattr(envs, "VLLM_SERVER_DEV_MODE", True, raising=False)
    patch.setattr(envs, "VLLM_ALLOW_RUNTIME_LORA_UPDATING", True, raising=False)
    try:
        routes = [route for tasks in TASKS for route in build_app(args, tasks, POOLS).routes]
    finally:
        patch.undo()
    return {each.path for each in routes if isinstance(each, APIRoute | WebSocketRoute)}


def need(path: str, method: str | None) -> Need:
    kind = "websocket" if method is None else "http"
    return need_of({"type": kind, "method": method, "path": path, "headers": []})


def test_every_operational_route_of_vllm_is_for_admins(paths: set[str]) -> None:
    found = {path for path in paths if need(path, "POST") is Need.ADMIN}
    public = {"/health", "/ping", "/version", "/v1/models"}
    assert found - public == OPERATIONAL


def test_what_is_open_to_tenants_exists_in_vllm(paths: set[str]) -> None:
    assert sorted(INFERENCE_PATHS - paths - NEVER_BUILT) == []


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/health", Need.NOTHING),
        ("POST", "/health", Need.ADMIN),
        ("GET", "/usage", Need.KEY),
        ("GET", "/v1/models", Need.KEY),
        ("GET", "/v1/models/meta-llama/Llama", Need.KEY),
        ("POST", "/v1/models/x", Need.ADMIN),
        ("GET", "/v1/responses/resp_1", Need.KEY),
        ("POST", "/v1/responses/resp_1/cancel", Need.KEY),
        ("POST", "/v1/responses/resp_1/x", Need.ADMIN),
        ("POST", "/v1/chat/completions", Need.KEY),
        ("POST", "/v1/chat/completions/", Need.ADMIN),
        ("POST", "/V1/chat/completions", Need.ADMIN),
        (None, "/v1/realtime", Need.KEY),
        (None, "/v1/of_another_vllm", Need.ADMIN),
        ("GET", "/fleet", Need.ADMIN),
        ("GET", "/fleet/explain", Need.ADMIN),
    ],
)
def test_what_a_route_needs(method: str | None, path: str, needed: Need) -> None:
    assert need(path, method) is needed
