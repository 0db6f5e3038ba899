"""A cluster as its user starts it (`make serve`), and what the tests ask of it."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import httpx2
from openai import AsyncOpenAI

from cluster.routing.decision_log import DecisionRecord, loads
from cluster.spec import ClusterSpec, load
from serve_app.ingress import free_ports
from tests.waiting import until

READY_WITHIN_S = 600.0  # five engines on two cores; minutes only where the machine is busy
STOPPED_WITHIN_S = 90.0
ANSWER_WITHIN_S = 300.0
STALLED_AFTER_S = 20.0  # longer than any test has an engine stand still that is to go on

RESUME_WINDOW_S = 5.0  # a few seconds, in which a test's client comes back at once

# Each engine's KV cache is 128 MiB instead of the demo's 1 GiB: that is 32,000 tokens of its model,
# and a fixed size spares it the warm-up. No free whitespace: untrained weights would choose it for
# ever where a JSON grammar allows it.
ENGINE = """
      max_model_len: 4096
      kv_cache_memory_bytes: 134217728
      structured_outputs_config: {backend: xgrammar, disable_any_whitespace: true}
"""
DECISIONS, SPEC_FILE = "decisions.jsonl", "spec.yaml"
SPEC = f"""
models:
  - name: demo
    source: demo
    replicas: 2
    engine: {ENGINE}
    resources: {{cpus: 0.2}}
    routing: {{decision_log: $folder/{DECISIONS}, decision_log_frac: 1.0}}
  - name: demo-tp2
    source: demo
    engine: {ENGINE}
      tensor_parallel_size: 2
    env: {{VLLM_CPU_OMP_THREADS_BIND: "0|1"}}
    resources: {{cpus: 0.2}}
  - name: demo-embed
    source: demo
    engine: {{runner: pooling, convert: embed, max_model_len: 1024}}
    resources: {{cpus: 0.2}}
gateway:
  cpus: 0.2
  max_body_mb: 0.2
  resume_window_s: {RESUME_WINDOW_S}
  admission: {{queue_at_gateway: false}}  # engines stand still here until they have all requests
failover:
  hold_timeout_s: {ANSWER_WITHIN_S}
  stall_timeout_s: {STALLED_AFTER_S}
  restart_backoff_max_s: 0  # tests kill engines young, one after the other: that is no crash loop
"""


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(0)[0]


def launch(spec: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """`make serve`, less make."""
    command = [sys.executable, "-m", "serve_app.launch", "--spec", str(spec), "--port", str(port)]
    # Ray kills workers when the machine is short of memory: here only the tests kill.
    calm = {"RAY_memory_monitor_refresh_ms": "0"}
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | calm)


@dataclass(frozen=True)
class Fleet:
    """A running cluster."""

    spec: ClusterSpec
    process: subprocess.Popen[bytes]
    log: Path
    http: httpx2.Client

    @classmethod
    def start(cls, folder: Path, spec: str = SPEC, admin_key: str = "none") -> "Fleet":
        """Start a cluster; its files go to `folder`, which `spec` may call $folder. `admin_key` is
        shown with what is asked here, for a cluster with tenants."""
        path, log, port = folder / SPEC_FILE, folder / "launch.log", free_port()
        path.write_text(Template(spec).substitute(folder=folder))
        http = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=ANSWER_WITHIN_S,
            trust_env=False,
            headers=bearer(admin_key),
        )
        return cls(load(path), launch(path, port, log), log, http)

    def wait_until_ready(self) -> None:
        """Every engine of the spec is up. Raises RuntimeError with the launcher's output."""
        self.wait_until_said_ready()
        self.wait_until_whole()

    def wait_until_said_ready(self) -> None:
        """Every model has had an engine. Raises RuntimeError with the launcher's output."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the launcher ended:\n{self.log.read_text()}")
            return "\nready: " in self.log.read_text()

        until(ready, within_s=READY_WITHIN_S, what="the launcher says ready")

    def stop(self) -> str:
        """Ctrl-C. Returns what the launcher printed."""
        self.http.close()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOPPED_WITHIN_S)
        finally:
            self.process.kill()
        return self.log.read_text()

    @property
    def spec_path(self) -> Path:
        return self.log.with_name(SPEC_FILE)

    @property
    def folder(self) -> Path:
        """Where the launcher keeps the cluster's files."""
        found = re.search(r"log: (\S+)", self.log.read_text())
        assert found is not None
        return Path(found[1]).parent

    @property
    def url(self) -> str:
        return str(self.http.base_url)

    @property
    def port(self) -> int:
        port = self.http.base_url.port
        assert port is not None
        return port

    def client(self, api_key: str = "none") -> AsyncOpenAI:
        """The official SDK: it raises where an answer is not what the OpenAI API describes."""
        return openai_client(self.url, api_key)

    def row(self, model: str = "demo") -> dict[str, Any]:
        """A model's row of `GET /fleet`."""
        rows = self.http.get("/fleet").raise_for_status().json()["models"]
        return next(row for row in rows if row["name"] == model)

    def engines(self, model: str = "demo") -> list[dict[str, Any]]:
        """The rows of a model's engines that are ready."""
        return [engine for engine in self.row(model)["engines"] if engine["state"] == "ready"]

    def flights(self, model: str = "demo") -> dict[str, int]:
        """A model's request counts."""
        return self.row(model)["flights"]

    def last_decision(self) -> DecisionRecord:
        """Where the last request went, and what its gateway saw then; of a model of `SPEC` that
        logs every decision."""
        return loads(self.log.with_name(DECISIONS).read_text().splitlines()[-1])

    def wait_for_engines(self, count: int = 2, model: str = "demo") -> None:
        """Until so many engines are ready: what a kill has left, or all when it is replaced."""
        until(
            lambda: len(self.engines(model)) == count,
            within_s=READY_WITHIN_S,
            what=f"{count} engines of {model} are ready",
        )

    def wait_until_whole(self) -> None:
        """Until every model has its engines, all ready, and none that is gone is listed still."""
        until(
            lambda: all(self._is_whole(model.name, model.replicas) for model in self.spec.models),
            within_s=READY_WITHIN_S,
            what="every model has its engines",
        )

    def _is_whole(self, model: str, replicas: int) -> bool:
        states = [engine["state"] for engine in self.row(model)["engines"]]
        return states == ["ready"] * replicas

    def wait_until_idle(self) -> None:
        """Until every engine says so itself: its last word may be a moment old."""
        names = [model.name for model in self.spec.models]
        until(
            lambda: not any(row["running"] for name in names for row in self.engines(name)),
            what="no engine runs anything",
        )

    def wait_for_active(self, count: int, model: str = "demo", within_s: float = 60.0) -> None:
        """Until `count` requests of a model are in flight."""
        until(
            lambda: self.flights(model)["active"] == count,
            within_s=within_s,
            what=f"{count} requests of {model} in flight",
        )


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


def openai_client(url: str, api_key: str = "none") -> AsyncOpenAI:
    """A strict client that never tries again by itself."""
    return AsyncOpenAI(
        base_url=f"{url.rstrip('/')}/v1",
        api_key=api_key,
        max_retries=0,
        http_client=httpx2.AsyncClient(timeout=ANSWER_WITHIN_S, trust_env=False),
        _strict_response_validation=True,
    )
