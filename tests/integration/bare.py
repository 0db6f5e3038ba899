"""vLLM's own API server with one engine of a spec's model: what the cluster is compared with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

from cluster.spec import ModelSpec
from serve_app.demo import MODEL_PATH
from tests.integration.fleet import free_port
from tests.waiting import until

READY_WITHIN_S = 300.0
STOPPED_WITHIN_S = 30.0


class BareServer:
    """Starts in the constructor; `http` is a client of it."""

    def __init__(self, model: ModelSpec, log: Path) -> None:
        port = free_port()
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                _command(model, port), stdout=output, stderr=output, env=os.environ | model.env
            )

    def wait_until_ready(self) -> None:
        until(self._ready, within_s=READY_WITHIN_S, what="the bare server is up")

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the bare server ended:\n{self._log.read_text()}")
        try:
            return self.http.get("/health").is_success
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        self.http.close()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOPPED_WITHIN_S)
        finally:
            self._process.kill()
            self._process.wait()


def _command(model: ModelSpec, port: int) -> list[str]:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
    command += ["--model", str(MODEL_PATH), "--served-model-name", model.name]
    for key, value in {**model.engine, **model.api}.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            command.append(option)
        else:
            command += [option, value if isinstance(value, str) else json.dumps(value)]
    return command
