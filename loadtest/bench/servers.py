"""Starts and stops the two servers of the overhead benchmark, with the same engine arguments.

The spec decides both sides: `tokenfleet check` resolves it, the bare server gets the resolved
arguments and environment of its model as vLLM command-line flags, and Tokenfleet gets the same
model as a spec of one gateway and one engine. Nothing here imports Tokenfleet: it is a subject.
"""

import errno
import http.client
import json
import os
import random
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from loadtest.bench.machine import put_behind
from loadtest.client import Endpoint
from loadtest.procstat import family, processes, server_processes

REPOSITORY = Path(__file__).parents[2]
DEMO_MODEL = REPOSITORY / "serve_app" / "demo" / "model"  # what `source: demo` means in a spec
HOST = "127.0.0.1"
# Neither Ray's workers (10002 to 19999) nor Serve's replicas (30000 on) listen there, and the
# kernel takes its ports for connections above (32768 on).
PORTS = range(20000, 30000)
PROBE_EVERY_S = 0.5
PROBE_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 60.0


class ServerError(RuntimeError):
    """A server did not become ready; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one server, and how to see that it is ready."""

    name: str
    command: Sequence[str]
    endpoint: Endpoint
    ready_path: str
    env: Mapping[str, str] = field(default_factory=dict)  # added to this process's own
    linger_s: float = STOP_TIMEOUT_S  # its other processes may outlive the one that is started


def tokenfleet() -> str:
    """The command beside this Python."""
    return str(Path(sys.executable).with_name("tokenfleet"))


def resolved_spec(path: str) -> dict[str, Any]:
    """What `tokenfleet check` makes of a spec. Raises CalledProcessError; it says why on stderr."""
    command = [tokenfleet(), "check", path]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    spec: dict[str, Any] = yaml.safe_load(done.stdout)
    return spec


def run_tokenfleet(*command: str, stdout: Any) -> None:
    """Raises CalledProcessError, but not where an SLO was missed: that is no matter here."""
    done = subprocess.run([tokenfleet(), *command], stdout=stdout, check=False)
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, done.args)


def one_model_spec(spec: Mapping[str, Any], port: int, engines: int = 1) -> dict[str, Any]:
    """`spec` cut to its first model, with `engines` engines and one gateway, on `port`."""
    return {
        **spec,
        "models": [{**spec["models"][0], "replicas": engines}],
        "gateway": {**spec["gateway"], "replicas": 1},
        "ports": {**spec["ports"], "http": port, "host": HOST},
    }


def bare_launch(
    name: str, spec: Mapping[str, Any], port: int, python: str = sys.executable
) -> Launch:
    """vLLM's own server for the spec's first model, without access log and usage statistics, as
    Tokenfleet runs it. `python`: of the virtual environment whose vLLM it is."""
    model = spec["models"][0]
    command = [
        *(python, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", source_of(model), "--served-model-name", model["name"]),
        *("--host", HOST, "--port", str(port), "--disable-uvicorn-access-log"),
        *vllm_flags({**model["engine"], **model["api"]}),
    ]
    env = {"VLLM_NO_USAGE_STATS": "1", **spec["gateway"]["env"], **model["env"]}
    return Launch(name, command, Endpoint(HOST, port), "/health", env)


def source_of(model: Mapping[str, Any]) -> str:
    """Where vLLM finds the weights of a spec's model."""
    return str(DEMO_MODEL) if model["source"] == "demo" else str(model["source"])


def fleet_launch(
    name: str, spec: Mapping[str, Any], port: int, folder: Path, engines: int = 1
) -> Launch:
    """Tokenfleet by the launcher that `make serve` uses; writes its spec into `folder`."""
    path = folder / "overhead-spec.yaml"
    path.write_text(yaml.safe_dump(one_model_spec(spec, port, engines)), encoding="utf-8")
    command = [sys.executable, "-m", "serve_app.launch", "--spec", str(path)]
    return Launch(name, command, Endpoint(HOST, port), "/ready")


def vllm_flags(arguments: Mapping[str, Any]) -> list[str]:
    """Resolved arguments as vLLM's command line takes them: `no-` for false, JSON for mappings."""
    return [flag for name, value in arguments.items() for flag in _flag(name, value)]


def _flag(name: str, value: Any) -> list[str]:
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    if isinstance(value, Mapping):
        return [f"--{dashed}", json.dumps(value)]
    if isinstance(value, list | tuple):
        return [f"--{dashed}", *map(str, value)]
    return [f"--{dashed}", str(value)]


def free_port() -> int:
    """A port that was free a moment ago, and that the kernel gives to no connection meanwhile.
    Raises OSError if there is none."""
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise OSError(errno.EADDRINUSE, f"no port of {PORTS[0]} to {PORTS[-1]} is free")


@contextmanager
def running(launches: Sequence[Launch], folder: Path, timeout_s: float) -> Iterator[None]:
    """All `launches`, started one after the other (each wants the whole machine) and ready;
    stopped in reverse. Logs go to `folder`. Raises ServerError."""
    with ExitStack() as stack:
        for launch in launches:
            stack.enter_context(_running(launch, folder / f"{launch.name}.log", timeout_s))
        yield


@contextmanager
def _running(launch: Launch, log: Path, timeout_s: float) -> Iterator[None]:
    print(f"starting {launch.name} (log: {log}): {shlex.join(launch.command)}", file=sys.stderr)
    with log.open("wb") as output:
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env=os.environ | launch.env,
            start_new_session=True,  # a Ctrl-C here reaches it through _stop alone, once
        )
    put_behind(process.pid)
    try:
        _wait_ready(process, launch, log, timeout_s)
        yield
    finally:
        _stop(process, launch)


def _wait_ready(
    process: subprocess.Popen[bytes], launch: Launch, log: Path, timeout_s: float
) -> None:
    for _ in range(round(timeout_s / PROBE_EVERY_S)):
        try:
            code = process.wait(PROBE_EVERY_S)
        except subprocess.TimeoutExpired:
            if fetch(launch.endpoint, launch.ready_path) is not None:
                return
        else:
            raise ServerError(f"{launch.name} ended with {code}:\n{_tail(log)}")
    raise ServerError(f"{launch.name} not ready after {timeout_s:g} s:\n{_tail(log)}")


def fetch(endpoint: Endpoint, path: str) -> bytes | None:
    """The body of a GET that got 200; None for anything else, nobody listening included."""
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=endpoint.headers)
        response = connection.getresponse()
        return response.read() if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def served_model(endpoint: Endpoint) -> str:
    """The first model a server lists. Raises ServerError where it does not say."""
    body = fetch(endpoint, "/v1/models")
    if body is None:
        raise ServerError(f"nobody lists models at {endpoint.host}:{endpoint.port}")
    return str(json.loads(body)["data"][0]["id"])


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _stop(process: subprocess.Popen[bytes], launch: Launch) -> None:
    """SIGTERM, then kill, by id, what of the server is still there after a while."""
    listening = server_processes(launch.endpoint.port)
    handles = _handles({p.pid for p in (*listening, *family([process.pid], processes()))})
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    _, left = psutil.wait_procs(handles, timeout=launch.linger_s)
    for survivor in left:
        print(f"killing leftover {survivor}", file=sys.stderr)
        survivor.kill()
    process.wait()


def _handles(pids: Iterable[int]) -> list[psutil.Process]:
    """Handles that a reused pid cannot fool; processes that ended meanwhile are left out."""
    handles = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            handles.append(psutil.Process(pid))
    return handles
