"""Launches from a resolved spec, and the life of a server process."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.bench.servers import (
    DEMO_MODEL,
    Launch,
    ServerError,
    bare_launch,
    fetch,
    fleet_launch,
    free_port,
    one_model_spec,
    resolved_spec,
    running,
    vllm_flags,
)
from loadtest.client import Endpoint

SPEC: dict[str, Any] = {
    "models": [
        {
            "name": "demo",
            "source": "demo",
            "replicas": 2,
            "engine": {"max_model_len": 2048},
            "api": {"enable_auto_tool_choice": True},
            "env": {"OMP_NUM_THREADS": "1"},
        },
        {"name": "other"},
    ],
    "gateway": {"replicas": 3, "max_body_mb": 1.0, "env": {"A": "b"}},
    "ports": {"http": 8000, "host": "0.0.0.0", "engine_min": None},
    "failover": {"max_attempts": 3},
}


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        ({"block_size": 32}, ["--block-size", "32"]),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"hf_overrides": {"a": 1}}, ["--hf-overrides", '{"a": 1}']),
        ({"allowed_origins": ["a", "b"]}, ["--allowed-origins", "a", "b"]),
        ({}, []),
    ],
)
def test_arguments_as_vllm_takes_them(arguments: dict[str, Any], flags: list[str]) -> None:
    assert vllm_flags(arguments) == flags


def test_tokenfleet_gets_one_engine_behind_one_gateway() -> None:
    spec = one_model_spec(SPEC, 9000)
    assert [(m["name"], m["replicas"]) for m in spec["models"]] == [("demo", 1)]
    assert spec["gateway"] == {"replicas": 1, "max_body_mb": 1.0, "env": {"A": "b"}}
    assert spec["ports"] == {"http": 9000, "host": "127.0.0.1", "engine_min": None}
    assert spec["failover"] == SPEC["failover"]


def test_the_bare_server_gets_the_same_arguments_and_environment() -> None:
    launch = bare_launch("bare", SPEC, 9000)
    assert launch.command[-3:] == ["--max-model-len", "2048", "--enable-auto-tool-choice"]
    assert str(DEMO_MODEL) in launch.command
    assert launch.env.items() >= {"OMP_NUM_THREADS": "1", "A": "b"}.items()
    assert launch.endpoint == Endpoint("127.0.0.1", 9000)


def test_the_launcher_gets_the_spec_as_a_file(tmp_path: Path) -> None:
    launch = fleet_launch("fleet", SPEC, 9000, tmp_path)
    written = yaml.safe_load(Path(launch.command[-1]).read_text(encoding="utf-8"))
    assert written == one_model_spec(SPEC, 9000)


def http_server(port: int) -> Launch:
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    return Launch("files", command, Endpoint("127.0.0.1", port), "/")


def test_a_server_runs_as_long_as_it_is_needed(tmp_path: Path) -> None:
    launch = http_server(free_port())
    with running([launch], tmp_path, timeout_s=10):
        assert fetch(launch.endpoint, "/") is not None
        assert fetch(launch.endpoint, "/nothing") is None
    assert fetch(launch.endpoint, "/") is None


def test_a_server_that_ends_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    launch = Launch("broken", command, Endpoint("127.0.0.1", free_port()), "/")
    with (
        pytest.raises(ServerError, match=r"broken ended with 1:\nno such model"),
        running([launch], tmp_path, timeout_s=10),
    ):
        pass


def test_a_server_that_is_never_ready_is_given_up_and_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    launch = Launch("deaf", command, Endpoint("127.0.0.1", free_port()), "/")
    with (
        pytest.raises(ServerError, match=r"deaf not ready after 0\.5 s"),
        running([launch], tmp_path, timeout_s=0.5),
    ):
        pass


def test_a_spec_is_what_tokenfleet_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the command beside this Python, which would import vLLM first."""
    command = tmp_path / "tokenfleet"
    command.write_text('#!/bin/sh\necho "models: [{name: demo}]\ncommand: $*"\n')
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert resolved_spec("a.yaml") == {"models": [{"name": "demo"}], "command": "check a.yaml"}
