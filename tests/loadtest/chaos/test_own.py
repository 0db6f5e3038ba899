"""The test's own cluster: what its two child processes are told, and what they say."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.chaos.own import Deployer, Launcher, OwnCluster, StartError
from loadtest.chaos.plan import Fault

SPEC: dict[str, Any] = {
    "models": [{"name": "a", "replicas": 2, "env": {"X": "1"}}, {"name": "b", "replicas": 1}],
    "gateway": {"replicas": 2},
    "ports": {"http": 8000, "host": "0.0.0.0"},
}
STARTS = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: (print("{last}", flush=True), sys.exit()))
print("starting; log: /tmp/f/serve.log", flush=True)
print("ready: http://there/v1", flush=True)
signal.pause()
"""


def launched(program: str, use: Any) -> Any:
    """What `use` makes of a launcher whose process runs a Python program."""

    async def play() -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
        )
        try:
            return await use(Launcher(process))
        finally:
            await process.wait()

    return asyncio.run(play())


@pytest.mark.parametrize("clean", [True, False])
def test_it_is_ready_has_a_folder_and_stops(clean: bool) -> None:
    async def use(launcher: Launcher) -> tuple[Path, bool]:
        await launcher.ready()
        return launcher.folder, await launcher.stop()

    last = "stopped; no process left" if clean else "still running: 7"
    assert launched(STARTS.format(last=last), use) == (Path("/tmp/f"), clean)


def test_a_cluster_that_ends_before_it_is_ready_says_why() -> None:
    with pytest.raises(StartError, match=r"port 8000 of 127\.0\.0\.1 is taken"):
        launched("print('port 8000 of 127.0.0.1 is taken')", lambda launcher: launcher.ready())


def deployed(answer: str, path: Path) -> None:
    program = f"for line in __import__('sys').stdin: print('noise'); print({answer!r}, flush=True)"

    async def play() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=PIPE, stdout=PIPE, stderr=STDOUT
        )
        deployer = Deployer(process)
        try:
            await deployer.deploy(path)
            await deployer.deploy(path)
        finally:
            await deployer.stop()

    asyncio.run(play())


def test_specs_are_deployed_one_after_the_other(tmp_path: Path) -> None:
    deployed("deployed", tmp_path)


def test_a_spec_that_is_refused_says_why(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="refused: no engine"):
        deployed("refused: no engine", tmp_path)


class FakeDeployer:
    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []

    async def deploy(self, path: Path) -> None:
        self.specs.append(yaml.safe_load(path.read_text()))


def test_faults_that_serve_does_change_the_number_or_the_version(tmp_path: Path) -> None:
    cluster, deployer = OwnCluster(SPEC, tmp_path), FakeDeployer()
    cluster._deployer = deployer  # type: ignore[assignment]

    async def play() -> list[str]:
        faults = (Fault.SCALE_UP, Fault.REDEPLOY, Fault.DRAIN)
        return [await cluster.deploy(fault) for fault in faults]

    assert asyncio.run(play()) == [
        "version 0, 3 engines",
        "version 1, 3 engines",
        "version 1, 2 engines",
    ]
    first = [spec["models"][0] for spec in deployer.specs]
    assert [model["replicas"] for model in first] == [3, 3, 2]
    versions = [model["env"]["TOKENFLEET_CHAOS_VERSION"] for model in first]
    assert versions == ["0", "1", "1"]
    assert all(model["env"]["X"] == "1" for model in first)
    for spec in deployer.specs:
        assert spec["models"][1] == SPEC["models"][1]
        assert spec["ports"] == {"http": cluster.endpoint.port, "host": "127.0.0.1"}
