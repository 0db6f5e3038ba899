"""An engine that cannot start says why in vLLM's own words, and is not tried for ever."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_app.settings import WIRE_SECRET_ENV
from tests.integration.fleet import free_port, launch

ENDED_WITHIN_S = 900.0  # a minute where nothing else runs
MISSING = "/no/such/model"
MISSING_SPEC = f"""
models:
  - name: missing
    source: {MISSING}
    resources: {{device: cpu, cpus: 0.2}}
gateway: {{cpus: 0.2}}
"""
# As a replica does it, but without Ray: one start instead of three, and nothing to tear down.
START_ENGINE = """
import asyncio
from serve_app.engine import EngineStartError
from serve_app.replicas import Engine

MODEL = {
    "name": "cramped",
    "source": "demo",
    "engine": {"kv_cache_memory_bytes": 65536},
    "resources": {"device": "cpu"},
}
SPEC = {"models": [MODEL], "failover": {"restart_backoff_max_s": 0}}  # that would ask Serve and Ray

if __name__ == "__main__":
    try:
        asyncio.run(Engine.__init__(object.__new__(Engine), SPEC, "cramped"))
    except EngineStartError as error:
        print(f"failed: {error}")
"""


@dataclass(frozen=True)
class Launch:
    """A launch that ended by itself: its exit status, its output, and the log it points to."""

    status: int
    printed: str
    log: str


@pytest.fixture(scope="module")
def missing_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    folder = tmp_path_factory.mktemp("missing")
    spec, output = folder / "spec.yaml", folder / "output"
    spec.write_text(MISSING_SPEC)
    launcher = launch(spec, free_port(), output)
    try:
        status = launcher.wait(ENDED_WITHIN_S)
    finally:
        launcher.send_signal(signal.SIGINT)
    printed = output.read_text()
    log = Path(printed.split("log: ", 1)[1].splitlines()[0])
    yield Launch(status, printed, log.read_text())
    shutil.rmtree(log.parent)


def test_a_missing_model_ends_the_launch_with_vllms_message(missing_model: Launch) -> None:
    assert missing_model.status == 1
    assert f"EngineStartError: model missing ({MISSING}): " in missing_model.printed
    assert "Repo id must be in the form" in missing_model.printed
    assert "no process left" in missing_model.printed


def test_a_missing_model_is_tried_three_times(missing_model: Launch) -> None:
    failed = re.findall(r"Exception in Replica\(id='(\w+)'", missing_model.log)
    assert 3 <= len(failed) == len(set(failed)) <= 6


def test_a_failure_in_the_engine_core_is_told_by_its_host(tmp_path: Path) -> None:
    script = tmp_path / "start_engine.py"
    script.write_text(START_ENGINE)
    secret = {WIRE_SECRET_ENV: "of no cluster: " + "x" * 32}  # else it is Ray's to keep
    printed = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | secret,
        capture_output=True,
        text=True,
        timeout=ENDED_WITHIN_S,
    ).stdout
    (failure,) = [line for line in printed.splitlines() if line.startswith("failed: ")]
    assert failure.startswith("failed: model cramped (demo): ValueError: ")
    assert "cache blocks" in failure
