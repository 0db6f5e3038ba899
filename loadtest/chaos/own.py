"""A cluster of the test's own, started on this machine as `make serve` does, and stopped after."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import copyfile
from typing import Any

import yaml

from loadtest.bench.servers import HOST, REPOSITORY, free_port
from loadtest.chaos.plan import Fault
from loadtest.client import Endpoint

STOP_WITHIN_S = 180.0
LOG = "serve.log"
NOTHING_LEFT = "no process left"  # what the launcher says when it is so
# Ray kills workers when the machine is short of memory: here only the test kills.
ENVIRONMENT = {"RAY_memory_monitor_refresh_ms": "0"}


class StartError(Exception):
    """The cluster did not start, or Serve refused a spec; the message has its last words."""


class Launcher:
    """`python -m serve_app.launch` as a child, and what it printed so far."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._printed: list[str] = []
        self._ready = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, spec: Path, port: int) -> "Launcher":
        command = ("-m", "serve_app.launch", "--spec", str(spec), "--port", str(port))
        return cls(await _python(*command, env=os.environ | ENVIRONMENT))

    async def _read(self) -> None:
        async for line in _lines(self._process):
            self._printed.append(line)
            if line.startswith("ready: "):
                self._ready.set()
        self._ready.set()  # it ended: whoever waits shall see it

    async def ready(self) -> None:
        """Raises StartError."""
        await self._ready.wait()
        if self._reader.done():
            raise StartError("the cluster ended:\n" + "\n".join(self._printed))

    @property
    def folder(self) -> Path:
        """Of the cluster's files, its log among them; from its first line."""
        found = re.search(r"log: (\S+)", "\n".join(self._printed))
        if found is None:
            raise StartError(f"no folder in what the launcher printed: {self._printed}")
        return Path(found[1]).parent

    async def stop(self) -> bool:
        """Ctrl-C. Whether it left nothing behind."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            self._process.kill()
        await self._reader
        return NOTHING_LEFT in "\n".join(self._printed)


class Deployer:
    """`python -m serve_app.redeploy` as a child: one spec after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path) -> "Deployer":
        """For the cluster whose files are in `folder`."""
        env = {"RAY_TMPDIR": str(folder), "RAY_SERVE_ENABLE_HA_PROXY": "1"}
        return cls(await _python("-m", "serve_app.redeploy", env=os.environ | env, stdin=PIPE))

    async def deploy(self, spec: Path) -> None:
        """Returns when Serve has taken it. Raises StartError where it has not."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{spec}\n".encode())
        said = []
        async for line in _lines(self._process):
            if line == "deployed":
                return
            said.append(line)
            if line.startswith("refused: "):
                break
        raise StartError("Serve did not take a spec:\n" + "\n".join(said[-20:]))

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


class OwnCluster:
    """Ready from the start to the end of `running`. `engines` is what Serve is to keep now."""

    def __init__(self, spec: Mapping[str, Any], folder: Path) -> None:
        self.model: str = spec["models"][0]["name"]
        self.engines: int = spec["models"][0]["replicas"]
        self.gateways: int = spec["gateway"]["replicas"]
        self.endpoint = Endpoint(HOST, free_port())
        self.left_something = False
        self._spec, self._folder, self._version = spec, folder, 0
        self._deployer: Deployer | None = None

    async def deploy(self, fault: Fault) -> str:
        """Scale up or down by one engine, or replace every engine by one of a new version."""
        self.engines += {Fault.SCALE_UP: 1, Fault.DRAIN: -1}.get(fault, 0)
        self._version += fault is Fault.REDEPLOY
        assert self._deployer is not None
        await self._deployer.deploy(self._write())
        return f"version {self._version}, {self.engines} engines"

    def _write(self) -> Path:
        """The spec as it is to be now, as a file."""
        first, *others = self._spec["models"]
        version = {"TOKENFLEET_CHAOS_VERSION": str(self._version)}
        engine_env = {**first["env"], **version}
        models = [{**first, "replicas": self.engines, "env": engine_env}, *others]
        gateway = {
            **self._spec["gateway"],
            "env": {**self._spec["gateway"].get("env", {}), **version},
        }
        ports = {**self._spec["ports"], "host": HOST, "http": self.endpoint.port}
        path = self._folder / f"spec-{self._version}-{self.engines}.yaml"
        spec = {**self._spec, "models": models, "gateway": gateway, "ports": ports}
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        return path

    @asynccontextmanager
    async def started(self, *, deploys: bool, log: Path | None) -> AsyncIterator["OwnCluster"]:
        launcher = await Launcher.start(self._write(), self.endpoint.port)
        try:
            await launcher.ready()
            if deploys:
                self._deployer = await Deployer.start(launcher.folder)
            yield self
        finally:
            if self._deployer is not None:
                await self._deployer.stop()
            if log is not None:
                _keep_log(launcher, log)
            self.left_something = not await launcher.stop()


@asynccontextmanager
async def running(
    spec: Mapping[str, Any], *, deploys: bool, log: Path | None
) -> AsyncIterator[OwnCluster]:
    """A ready cluster of a resolved spec; after it, `left_something` tells. Raises StartError.

    `deploys`: other specs are to follow. `log`: where its log is copied to, before it is gone.
    """
    with tempfile.TemporaryDirectory(prefix="tokenfleet-chaos-") as folder:
        async with OwnCluster(spec, Path(folder)).started(deploys=deploys, log=log) as cluster:
            yield cluster


def _keep_log(launcher: Launcher, log: Path) -> None:
    # A cluster that did not get far has none; what it said instead is in the StartError.
    with suppress(StartError, FileNotFoundError):
        copyfile(launcher.folder / LOG, log)


async def _python(*arguments: str, env: Mapping[str, str], stdin: int = DEVNULL) -> Process:
    """A session of its own: a terminal's Ctrl-C reaches this process only."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=stdin,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=REPOSITORY,
        env=env,
        start_new_session=True,
    )


async def _lines(process: Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield line.decode(errors="replace").rstrip("\n")
