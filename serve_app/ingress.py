"""Where Ray Serve's ingress listens, and how HAProxy mode is set up for a local cluster.

Serve takes its HTTP options when it starts, not when an application is deployed:

- `serve run serve_app:build spec=…`: the builder runs first, so `start_http` starts Serve with the
  spec's ports, and `serve run` then finds it running.
- `serve deploy`, `serve build`: Serve runs already, or its config file names the ports
  (`http_options: {host, port}`); Serve logs a warning where the spec says otherwise.
"""

import logging
import os
import resource
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from errno import EADDRINUSE
from pathlib import Path
from random import sample

import click
import psutil
import ray
from ray import serve

from cluster.spec import ClusterSpec
from serve_app import haproxy
from serve_app.settings import HAPROXY_BINARY_ENV

log = logging.getLogger(__name__)

SERVE_NAMESPACE = "serve"  # Ray Serve's own; `serve run` starts Ray in it
# Longest stream that outlives a change of the set of gateways. Serve's default, 120 s, cuts
# long generations: HAProxy's old process ends then.
LONGEST_STREAM_S = 3600
# How long a gateway stays after leaving the ingress, at least. Serve's default, 30 s, is for load
# balancers that poll; this HAProxy is told, and Ctrl-C would wait for it.
MIN_DRAINING_S = 2
# Connections HAProxy takes at once. Serve's default, 4096, is half of what one gateway takes.
CONNECTIONS = 16384
# Serve's default, but no more than there are cores.
HAPROXY_THREADS = 4
# How long the ingress may take to start. Serve's default, 5 s, is short for two busy cores, and
# three misses end the start.
READY_CHECK_S = 30
# Where a port is found when none is asked for: above those of Ray's workers (10002 to 19999), below
# those of Serve's replicas (30000 on) and those that the kernel gives to connections (32768 on),
# which would take it between here and its server's start.
ANY_PORT = range(20000, 30000)


def start_http(spec: ClusterSpec, checked: Callable[[], None]) -> None:
    """Start Serve with the spec's ports where it does not run yet. For the application builder.

    `checked` returns when the spec has been found right, and raises otherwise. Nothing that
    outlives this process is started before; but Ray, and Serve on a Ray that ends with this
    process, start meanwhile.
    """
    options = _serve_run_options()
    if any(options.get(key) for key in ("runtime_env", "runtime_env_json", "working_dir")):
        checked()
        log.warning("serve run with a runtime_env: Serve starts with its own ports, not the spec's")
        return
    if not ray.is_initialized():
        ray.init(address=options.get("address"), namespace=SERVE_NAMESPACE)
    if not _ray_ends_with_us():
        checked()
    serve.start(
        proxy_location="EveryNode",
        http_options={"host": spec.ports.host, "port": spec.ports.http},
    )
    checked()


def _ray_ends_with_us() -> bool:
    """Whether this process started the Ray cluster that it is connected to: it is the parent of
    the cluster's control service then, and ends it."""
    return any(child.name() == "gcs_server" for child in psutil.Process().children())


def _serve_run_options() -> Mapping[str, str | None]:
    """The options of the `serve run` command that called the builder; empty elsewhere."""
    context = click.get_current_context(silent=True)
    return context.params if context is not None and context.info_name == "run" else {}


def haproxy_mode() -> dict[str, str]:
    """The part of that environment that is the same on every machine."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(LONGEST_STREAM_S),
        "RAY_SERVE_HAPROXY_MAXCONN": str(CONNECTIONS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(MIN_DRAINING_S),
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(READY_CHECK_S),
    }


def haproxy_environment(folder: Path) -> dict[str, str]:
    """What Ray's processes must find in their environment for HAProxy mode, with files in `folder`
    and ports that nobody uses, so that clusters on one machine do not meet."""
    stats, metrics, fallback_http, fallback_grpc = free_ports(8404, 9101, 8500, 9500)
    return haproxy_mode() | {
        HAPROXY_BINARY_ENV: str(haproxy.SCRIPT),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(HAPROXY_THREADS, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
    }


def _connections() -> int:
    """`CONNECTIONS`, or what the limit of open files allows: two each, and some for HAProxy, which
    does not start where the limit is too low."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if limit == resource.RLIM_INFINITY else min(CONNECTIONS, limit // 3)


def free_ports(*preferred: int) -> list[int]:
    """One free TCP port for each of `preferred`: itself where it is free, else one of `ANY_PORT`.

    Whoever asks for it while this process lives gets another, though nobody listens there yet:
    clusters that start at the same moment do not meet.
    """
    with ExitStack() as held:
        return [_hold_port(held, port) for port in preferred]


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with ExitStack() as held:
        return _bind(held, host, port)


def _hold_port(held: ExitStack, preferred: int) -> int:
    """Bound until `held` closes, so that no port is given twice. Raises OSError if none is left."""
    for port in _candidates(preferred):
        if _is_ours(port) and _bind(held, "", port):
            return port
    raise OSError(EADDRINUSE, f"no port of {ANY_PORT[0]} to {ANY_PORT[-1]} is free")


def _candidates(preferred: int) -> Iterator[int]:
    if preferred:
        yield preferred
    for port in sample(ANY_PORT, len(ANY_PORT)):
        if port not in _ours:
            yield port


_ours: set[int] = set()


def _is_ours(port: int) -> bool:
    """Take `port` for this process, if no other has. The name is the kernel's, and goes with us."""
    if port not in _ours:
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0tokenfleet-port-{port}")
        except OSError:
            name.close()
            return False
        name.detach()  # open until this process ends
        _ours.add(port)
    return True


def _bind(held: ExitStack, host: str, port: int) -> bool:
    listener = held.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError:
        return False
    return True
