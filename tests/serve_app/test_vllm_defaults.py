"""What Tokenfleet leaves to vLLM's defaults, because they are the safe ones."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from vllm.entrypoints.launchers.app import build_app

from cluster import spec as cluster_spec
from serve_app import engine_args

PAGE = "http://a-page.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


def arguments(**api: Any) -> Any:
    spec = cluster_spec.parse({"models": [{"name": "demo", "source": "demo", "api": api}]})
    return engine_args.api_server_args(spec.models[0].on_device(False))


def test_prompts_are_not_logged() -> None:
    args = arguments()
    assert not args.enable_log_requests
    assert not args.enable_log_outputs


@pytest.mark.parametrize(
    ("api", "status", "allowed"),
    [({}, 400, None), ({"allowed_origins": [PAGE]}, 200, PAGE)],
    ids=["by default nobody", "whom the spec names"],
)
def test_which_pages_may_ask(api: dict[str, Any], status: int, allowed: str | None) -> None:
    client = TestClient(build_app(arguments(**api), ("generate",)))
    response = client.options("/v1/completions", headers=PREFLIGHT)
    assert response.status_code == status
    assert response.headers.get("access-control-allow-origin") == allowed
