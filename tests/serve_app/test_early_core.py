"""A core's process that begins with its host's: it runs what it is handed, or another does."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve_app import early_core
from serve_app.early_core import EarlyContext, EarlyCore, NotThisOneError, collecting_later
from tests.waiting import until

ROOT = Path(__file__).parents[2]
WITHIN_S = 30.0

# What building a configuration changes in a host's environment, beyond what imports set.
CHANGES = """
import json, os
from cluster.spec import parse, resolve_devices
from serve_app.engine import engine_config
model = resolve_devices(
    parse({"models": [{"name": "demo", "source": "demo"}]}), gpu_build=False
).models[0]
os.environ.update(model.env)
before = dict(os.environ)
engine_config(model)
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
print("changed: " + json.dumps(changed))
"""
READ_WHEN_USED = {
    "AITER_SITUV2_A4W4",
    "LOCAL_WORLD_SIZE",
    "VLLM_DISABLE_SHARED_EXPERTS_STREAM",
    "VLLM_SSM_CONV_STATE_LAYOUT",
    "VLLM_WORKER_MULTIPROC_METHOD",
}


def test_a_process_begins_with_what_vllm_would_have_given_it() -> None:
    environ = {name: v for name, v in os.environ.items() if name not in early_core.READ_AT_START}
    printed = subprocess.run(
        [sys.executable, "-c", CHANGES],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in printed.splitlines() if line.startswith("changed: ")]
    changed = json.loads(line.removeprefix("changed: "))
    given = early_core.cpu_environment(environ)
    assert changed.keys() - READ_WHEN_USED <= given.keys() == set(early_core.READ_AT_START), (
        "vLLM sets something else for its core: is it read when a process starts, or when used?"
    )
    # One of them is set when torch's compiler is imported, so that it does not change.
    assert {name: given[name] for name in changed.keys() & given.keys()}.items() <= changed.items()
    assert {"LD_PRELOAD", "NUMEXPR_MAX_THREADS"} <= changed.keys()


def test_what_the_user_preloads_stays() -> None:
    given = early_core.cpu_environment({"LD_PRELOAD": "/mine/libgomp.so"})["LD_PRELOAD"]
    assert given.split(":")[-1] == "/mine/libgomp.so"


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> Iterator[EarlyCore]:
    """For an engine on a CPU, but that what it imports ahead is small."""
    monkeypatch.setattr(early_core, "_AHEAD", "json")
    monkeypatch.setattr(early_core, "_WORKERS", {"cpu": "csv"})
    monkeypatch.setattr(early_core, "cpu_environment", lambda environ: {"NUMEXPR_MAX_THREADS": "1"})
    monkeypatch.setenv("NUMEXPR_MAX_THREADS", "7")
    monkeypatch.setenv("GONE", "1")
    begun = asyncio.run(EarlyCore.begin("cpu"))
    yield begun
    begun.close()


def tell(path: Path, **more: Any) -> None:
    """Runs in the process."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    said = {"pid": os.getpid(), "environ": dict(os.environ), "threads": threads}
    path.with_suffix(".part").write_text(json.dumps(said | more))
    path.with_suffix(".part").rename(path)


def told(path: Path) -> dict[str, Any]:
    until(path.exists, within_s=WITHIN_S, what="the process has written")
    return json.loads(path.read_text())


def test_it_runs_what_it_is_handed_in_the_environment_of_then(
    early: EarlyCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATER", "here")
    monkeypatch.delenv("GONE")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    begun = psutil.Process().children(recursive=True)
    process = early.take(tell, {"path": tmp_path / "told", "more": [1, 2]})
    said = told(tmp_path / "told")
    assert said["pid"] == process.pid
    assert process.pid in [each.pid for each in begun]
    assert said["environ"] == dict(os.environ)
    assert said["more"] == [1, 2]
    assert said["threads"] == 3
    process.join(WITHIN_S)
    assert process.exitcode == 0


def test_it_ends_where_nothing_is_to_run(early: EarlyCore) -> None:
    early.close()
    assert not early._process.is_alive()


def run_by(context: EarlyContext, path: Path) -> Any:
    """As vLLM starts its core."""
    process = context.Process(target=tell, name="EngineCore", kwargs={"path": path})
    assert process.exitcode is None
    process.start()
    said = told(path)
    process.join(WITHIN_S)
    assert (said["pid"], process.exitcode, process.name) == (process.pid, 0, "EngineCore")
    return process


def test_a_context_s_first_process_is_it_and_the_next_is_another(
    early: EarlyCore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = EarlyContext(early)
    assert run_by(context, tmp_path / "1").pid == early._process.pid
    assert not caplog.messages
    assert run_by(context, tmp_path / "2").pid != early._process.pid
    assert "started anew: it has been handed over" in caplog.text


@pytest.mark.parametrize(
    ("unfit", "why"),
    [
        (lambda early, patch: patch.setenv("LD_PRELOAD", "/x.so"), "another LD_PRELOAD"),
        (lambda early, patch: patch.delenv("NUMEXPR_MAX_THREADS"), "another NUMEXPR_MAX_THREADS"),
        (lambda early, patch: early._process.kill() or early._process.join(), "exit code -9"),
        (
            lambda early, patch: patch.setattr(early, "_executable", b"/numa/python"),
            "an executable of its own",
        ),
    ],
    ids=["a library to preload", "a variable less", "killed", "vLLM's own executable"],
)
def test_where_it_cannot_be_it_another_runs_and_the_log_says_why(
    early: EarlyCore, unfit: Any, why: str, tmp_path: Path, caplog: Any, monkeypatch: Any
) -> None:
    unfit(early, monkeypatch)
    with pytest.raises(NotThisOneError, match=why):
        early.take(tell, {})
    assert run_by(EarlyContext(early), tmp_path / "told").pid != early._process.pid
    assert why in caplog.text


def test_what_only_a_start_can_pass_on_goes_to_another(early: EarlyCore) -> None:
    queue = early_core.EarlyContext(early).Queue()
    with pytest.raises(NotThisOneError, match="inheritance"):
        early.take(tell, {"queue": queue})


def test_it_dies_with_its_host(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(
        "import asyncio, sys, time\n"
        "from serve_app import early_core\n"
        "early_core._AHEAD, early_core._WORKERS = 'json', {'gpu': 'csv'}\n"
        "if __name__ == '__main__':\n"
        "    core = asyncio.run(early_core.EarlyCore.begin('gpu'))\n"
        "    print(core._process.pid, flush=True)\n"
        "    time.sleep(3600)\n"
    )
    host = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert host.stdout is not None
    child = psutil.Process(int(host.stdout.readline()))
    host.kill()
    host.wait()
    host.stdout.close()
    child.wait(WITHIN_S)


def test_nothing_is_collected_while_vllm_is_imported_and_everything_after() -> None:
    before = gc.get_freeze_count()
    with collecting_later():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()
