"""How each side is started: all with the same model, arguments and environment."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.bench.peers.sides import (
    FLEET,
    LABELS,
    PEERS_PYTHON,
    RAY_DEFAULT,
    RAY_READY,
    RAY_TUNED,
    TUNED_ENV,
    Site,
    is_whole,
    launch,
    ready_engines,
)
from loadtest.bench.servers import DEMO_MODEL
from loadtest.client import Endpoint
from tests.loadtest.bench.test_servers import SPEC as BASE

MODEL = {**BASE["models"][0], "resources": {"device": "cpu", "cpus": 0.5}}
SPEC: dict[str, Any] = {**BASE, "models": [MODEL]}


def options(side: str, site: Site) -> Any:
    return json.loads(launch(side, site).command[-1])


def test_tokenfleet_gets_as_many_engines_as_asked(tmp_path: Path) -> None:
    spec = Path(launch(FLEET, Site(SPEC, tmp_path, 2)).command[-1]).read_text(encoding="utf-8")
    assert [model["replicas"] for model in yaml.safe_load(spec)["models"]] == [2]


def test_ray_serve_llm_gets_the_model_and_the_arguments_of_the_others(tmp_path: Path) -> None:
    for side in (RAY_DEFAULT, RAY_TUNED):
        llm = options(side, Site(SPEC, tmp_path, 2))["llm"]
        assert llm["model_loading_config"] == {"model_id": "demo", "model_source": str(DEMO_MODEL)}
        assert llm["engine_kwargs"] == {**MODEL["engine"], **MODEL["api"]}
        assert llm["deployment_config"] == {"num_replicas": 2}
        assert llm["accelerator_config"] == {"kind": "cpu"}


def test_tuned_differs_from_default_by_environment_only(tmp_path: Path) -> None:
    site = Site(SPEC, tmp_path, 1)
    default, tuned = launch(RAY_DEFAULT, site), launch(RAY_TUNED, site)
    assert options(RAY_DEFAULT, site)["llm"] == options(RAY_TUNED, site)["llm"]
    assert tuned.env.items() > {**default.env, **TUNED_ENV}.items()
    assert not TUNED_ENV.keys() & default.env.keys()


@pytest.mark.parametrize("side", LABELS)
def test_every_side_has_its_own_port_and_the_models_environment(side: str, tmp_path: Path) -> None:
    first, second = (launch(side, Site(SPEC, tmp_path, 1)) for _ in range(2))
    assert first.endpoint != second.endpoint
    assert side == FLEET or first.env.items() >= MODEL["env"].items()
    assert (first.command[0] == str(PEERS_PYTHON)) == (
        side in ("bare-peers", "ray-default", "ray-tuned")
    )


def test_haproxys_longest_socket_path_fits(tmp_path: Path) -> None:
    """It takes 97 characters, and Ray puts a folder named by 56 digits in between."""
    env = launch(RAY_TUNED, Site(SPEC, Path("/tmp/peers-12345678/10"), 1)).env
    paths = [Path(env[f"RAY_SERVE_HAPROXY_{name}_PATH"]) for name in ("SOCKET", "METRICS_SOCKET")]
    assert all(len(str(path.parent / ("f" * 56) / path.name)) <= 97 for path in paths)


def test_ray_is_whole_when_its_script_says_so(tmp_path: Path) -> None:
    site, nobody = Site(SPEC, tmp_path, 2), Endpoint("127.0.0.1", 1)
    assert not is_whole(RAY_TUNED, nobody, site)
    (tmp_path / RAY_READY).touch()
    assert is_whole(RAY_TUNED, nobody, site)


def test_tokenfleet_says_how_many_engines_are_ready() -> None:
    assert ready_engines(b'{"ready": true, "engines": {"demo": 2}, "failures": {}}') == 2
    assert ready_engines(None) == 0
    assert not is_whole(FLEET, Endpoint("127.0.0.1", 1), Site(SPEC, Path(), 1))
