"""A Ray cluster of several nodes on this machine, each started as a pod of a rendered RayService
starts its own: `ray start`, with the pod's environment and as many CPUs.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from serve_app.ingress import free_ports, haproxy_environment
from tests.waiting import until

OF_THE_IMAGE = ("HOME", "HF_HOME", "VLLM_CACHE_ROOT")
"""What a pod's environment says of its image's files."""

LOCAL = {"RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0"}
HOST = "127.0.0.1"
RAY_BIN = Path(sys.executable).parent


class Nodes:
    """The head is there; `add` starts others, and closing `stack` ends them all.

    `folder`: a short one, since HAProxy's sockets lie below it, beside a node id of 56 characters.
    """

    def __init__(self, service: Mapping[str, Any], folder: Path, stack: ExitStack) -> None:
        config = service["spec"]["rayClusterConfig"]
        self._groups = {group["groupName"]: group for group in config["workerGroupSpecs"]}
        self._serve_config = yaml.safe_load(service["spec"]["serveConfigV2"])
        self._folder, self._stack = folder, stack
        self._gcs, self._dashboard, self.port = free_ports(0, 0, 0)
        self._nodes: list[subprocess.Popen[bytes]] = []
        ports = (f"--port={self._gcs}", f"--dashboard-port={self._dashboard}")
        self._start(config["headGroupSpec"], "--head", *ports, f"--temp-dir={folder}/ray")

    def add(self, group: str) -> None:
        """A node of a worker group."""
        self._start(self._groups[group], f"--address={HOST}:{self._gcs}")

    def deploy(self) -> None:
        """`serve deploy` of the rendered configuration. The nodes share this machine's ports, so
        only the head has an ingress."""
        config = self._serve_config | {
            "proxy_location": "HeadOnly",
            "http_options": {"host": HOST, "port": self.port},
        }
        path = self._folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        subprocess.run(
            [RAY_BIN / "serve", "deploy", path, f"--address=http://{HOST}:{self._dashboard}"],
            check=True,
            env=os.environ | LOCAL,
        )

    @property
    def head(self) -> subprocess.Popen[bytes]:
        return self._nodes[0]

    def _start(self, group: Mapping[str, Any], *more: str) -> None:
        (container,) = group["template"]["spec"]["containers"]
        pod = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        files = self._folder / str(len(self._nodes))
        files.mkdir()
        command = [
            *(RAY_BIN / "ray", "start", "--block", *more),
            f"--num-cpus={group['rayStartParams']['num-cpus']}",
            # What Ray takes to be its own, on a machine with one node.
            *("--min-worker-port=0", "--max-worker-port=0"),
            f"--dashboard-agent-listen-port={free_ports(0)[0]}",
            f"--node-ip-address={HOST}",
        ]
        environment = {
            **os.environ,
            **{name: value for name, value in pod.items() if name not in OF_THE_IMAGE},
            **haproxy_environment(files),
            **LOCAL,
        }
        log = files / "ray.log"
        with log.open("wb") as output:
            node = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        self._nodes.append(node)
        self._stack.callback(_end, node)

        def started() -> bool:
            assert node.poll() is None, f"ray start ended:\n{log.read_text()}"
            return "Ray runtime started" in log.read_text()

        # One after the other: Ray mixes up nodes of one address that start at the same time.
        until(started, what="the node is there")


def raylet_of(pid: int) -> psutil.Process:
    """What is, to Ray, the node that a process runs on."""
    return next(each for each in psutil.Process(pid).parents() if each.name() == "raylet")


def _end(node: subprocess.Popen[bytes]) -> None:
    """At once: told to end, a node drains for minutes."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(node.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    node.kill()
    node.wait()
