"""The servers of the peers benchmark: what each is called and how it is started.

All get the same model, engine arguments and environment, which one spec decides. Ray Serve LLM and
the older bare vLLM come from a virtual environment of their own (`make bench-peers` sets it up),
because Ray Serve LLM 2.60 supports vLLM 0.29 and not the one that Tokenfleet runs.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.bench.machine import PACKAGES
from loadtest.bench.records import Side
from loadtest.bench.servers import (
    HOST,
    REPOSITORY,
    Launch,
    bare_launch,
    fetch,
    fleet_launch,
    free_port,
    source_of,
)
from loadtest.client import Endpoint

PEERS_PYTHON = REPOSITORY / ".venv-peers" / "bin" / "python"
RAY_APP = Path(__file__).with_name("ray_llm_app.py")
RAY_READY = "ready"
# Ray's agents end when init adopts them; here this benchmark does, and they would stay.
RAY_LINGER_S = 5.0
RAY_CPUS = 8  # what Ray is told: Ray Serve LLM asks for more than a small machine has

FLEET, BARE, BARE_PEERS = "fleet", "bare", "bare-peers"
RAY_DEFAULT, RAY_TUNED = "ray-default", "ray-tuned"
LABELS: dict[Side, str] = {
    FLEET: "Tokenfleet",
    BARE: "bare vLLM",
    BARE_PEERS: "bare vLLM (peers' version)",
    RAY_DEFAULT: "Ray Serve LLM",
    RAY_TUNED: "Ray Serve LLM (tuned)",
}
IN_PEERS_VENV = frozenset({BARE_PEERS, RAY_DEFAULT, RAY_TUNED})
WITH_ENGINES = frozenset({FLEET, RAY_DEFAULT, RAY_TUNED})  # the others are one engine each

# For both ways of Ray Serve LLM; the first two only give a busy machine time to start.
RAY_ENV = {
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    "RAY_memory_monitor_refresh_ms": "0",  # only this benchmark kills
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
# What Ray's guides on high throughput and on direct streaming set, both as of Ray 2.60.
TUNED_ENV = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server is started. `folder` must be short: Ray puts sockets below it."""

    spec: Mapping[str, Any]
    folder: Path
    engines: int


def launch(side: Side, site: Site) -> Launch:
    """Of a side that LABELS names, on a free port."""
    port = free_port()
    if side == FLEET:
        return fleet_launch(side, site.spec, port, site.folder, site.engines)
    if side in (BARE, BARE_PEERS):
        python = sys.executable if side == BARE else str(PEERS_PYTHON)
        return bare_launch(side, site.spec, port, python)
    return _ray_launch(side, site, port)


def _ray_launch(side: Side, site: Site, port: int) -> Launch:
    model = site.spec["models"][0]
    options = {
        "port": port,
        "cpus": RAY_CPUS,
        "llm": llm_config(model, site.engines),
        "ready": str(site.folder / RAY_READY),
    }
    env = {**RAY_ENV, **model["env"], "RAY_TMPDIR": str(site.folder)}
    if side == RAY_TUNED:
        env |= TUNED_ENV | _haproxy_env(site.folder)
    # -P: the folder of the script holds modules that are none of Ray's.
    command = [str(PEERS_PYTHON), "-P", str(RAY_APP), json.dumps(options)]
    return Launch(side, command, Endpoint(HOST, port), "/v1/models", env, RAY_LINGER_S)


def llm_config(model: Mapping[str, Any], engines: int) -> dict[str, Any]:
    """A spec's model as Ray's `LLMConfig` takes it."""
    return {
        "model_loading_config": {"model_id": model["name"], "model_source": source_of(model)},
        "engine_kwargs": {**model["engine"], **model["api"]},
        "accelerator_config": {"kind": model["resources"]["device"]},
        "deployment_config": {"num_replicas": engines},
    }


def is_whole(side: Side, endpoint: Endpoint, site: Site) -> bool:
    """Whether all engines of a server that listens are up."""
    if side == FLEET:
        return ready_engines(fetch(endpoint, "/ready")) >= site.engines
    return side not in (RAY_DEFAULT, RAY_TUNED) or (site.folder / RAY_READY).exists()


def ready_engines(body: bytes | None) -> int:
    """What Tokenfleet's `/ready` says; 0 where it did not answer."""
    return sum(json.loads(body)["engines"].values()) if body else 0


def _haproxy_env(folder: Path) -> dict[str, str]:
    """Files and ports of its own, so that it does not meet another HAProxy of this machine."""
    files = {
        "CONFIG_FILE_LOC": "haproxy.cfg",
        "SOCKET_PATH": "admin.sock",
        "METRICS_SOCKET_PATH": "metrics.sock",
        "SERVER_STATE_BASE": "",
        "SERVER_STATE_FILE": "server-state",
    }
    ports = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP", "FALLBACK_PROXY_GRPC")
    return {
        **{f"RAY_SERVE_HAPROXY_{key}": str(folder / name) for key, name in files.items()},
        **{f"RAY_SERVE_{name}_PORT": str(free_port()) for name in ports},
    }


def peers_versions() -> dict[str, str]:
    """What is installed in the peers' virtual environment. Raises CalledProcessError, OSError."""
    code = f"""
import json
from importlib import metadata
found = {{d.metadata["Name"]: d.version for d in metadata.distributions()}}
print(json.dumps({{name: found[name] for name in {PACKAGES!r} if name in found}}))
"""
    done = subprocess.run([PEERS_PYTHON, "-c", code], stdout=subprocess.PIPE, check=True)
    return {f"peers' {name}": version for name, version in json.loads(done.stdout).items()}
