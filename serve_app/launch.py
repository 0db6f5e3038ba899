"""`make serve`: a cluster on this machine, from start to ready to gone.

    1. check the spec and the port                 (nothing is running yet)
    2. `serve run serve_app:build spec=… port=…`   as a child, its log in a file
    3. wait for `GET /ready`, saying what for
    4. print the endpoint and a `curl` that works
    5. Ctrl-C, SIGTERM, or the child's end: stop every process below this one, and make sure

It always starts a Ray cluster of its own, with its own files and ports, and touches no other.
"""

import argparse
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from shutil import rmtree

from cluster.spec import ClusterSpec, ModelSpec, SpecError, load
from serve_app import examples, process_tree, settings
from serve_app.ingress import haproxy_environment, is_free

POLL_S = 0.5
REPEAT_PROGRESS_S = 15.0  # say again what is being waited for, so that silence never means hung
STOP_GRACE_S = 30.0  # Serve drains its replicas; then SIGTERM
KILL_GRACE_S = 5.0  # then SIGKILL
GIST_LINES = 25
FAILED, WRONG_INPUT = 1, 2
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RAY_PREFIX = re.compile(r"^\([^()]* pid=\d+[^()]*\) ", re.MULTILINE)  # "(ServeController pid=17) "


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One cluster to start: what, where, and the folder that holds its log and files."""

    spec_path: Path
    spec: ClusterSpec
    app: str
    port: int
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    @property
    def host(self) -> str:
        """An address of this machine that reaches the endpoint."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.spec.ports.host, self.spec.ports.host)


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        path = examples.find(args.spec)
        spec = load(path)
    except SpecError as error:
        return _complain(f"{args.spec}:\n{error}", WRONG_INPUT)
    port = args.port or spec.ports.http
    if not is_free(spec.ports.host, port):
        return _complain(f"port {port} of {spec.ports.host} is taken: PORT=… picks another", FAILED)
    # Below /tmp whatever TMPDIR says: socket paths must stay under 108 characters.
    folder = Path(tempfile.mkdtemp(prefix="tokenfleet-", dir="/tmp"))
    return run(Launch(spec_path=path, spec=spec, app=args.app, port=port, folder=folder))


def run(launch: Launch) -> int:
    """Start, wait, serve, stop. The folder stays when something went wrong."""
    _interrupt_on_signals()
    process_tree.adopt_orphans()
    print(f"starting; log: {launch.log}", flush=True)
    child = process_tree.spawn(_command(launch), _environment(launch), launch.log)
    try:
        _serve(launch, child)
        status = FAILED
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        status = 0
    status = _stop(child) or status
    if status == 0:
        rmtree(launch.folder, ignore_errors=True)
    return status


def _interrupt_on_signals() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does, and Ctrl-C work where a shell started
    this in the background, which ignores it. Under nohup the terminal may close."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


def _command(launch: Launch) -> list[str]:
    serve = str(Path(sys.executable).with_name("serve"))
    return [serve, "run", launch.app, f"spec={launch.spec_path}", f"port={launch.port}"]


RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs workers at niceness 15 by default; engines would yield to everything else there.
    "RAY_worker_niceness": "0",
    # Serve's controller looks around ten times a second by default, which with Ray's own store
    # behind it is 4 % of a core; that a lost engine is gone, gateways know from the wire.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}
"""For every process of a cluster, wherever it runs."""


def _environment(launch: Launch) -> dict[str, str]:
    """For every process of the cluster. What the user has set already stays, except the address of
    another cluster; Ray looks for those that run here in its temporary folder, which is new."""
    defaults = (
        haproxy_environment(launch.folder)
        | RAY_ENVIRONMENT
        | {
            "RAY_TMPDIR": str(launch.folder),
            # Ray gives its own node half a minute to start, which a busy laptop may exceed.
            "RAY_raylet_start_wait_time_s": "120",
        }
    )
    return settings.child_environment(defaults, without=("RAY_ADDRESS",))


def _serve(launch: Launch, child: subprocess.Popen[bytes]) -> None:
    """Returns when `child` ended by itself, which it should not."""
    if _wait_until_ready(launch, child):
        print(_welcome(launch), flush=True)
    while child.poll() is None:
        process_tree.reap(keep=child)
        time.sleep(POLL_S)
    _complain(f"\n{_gist(launch.log)}\n\nit ended by itself; more in {launch.log}", FAILED)


def _wait_until_ready(launch: Launch, child: subprocess.Popen[bytes]) -> bool:
    """Whether the cluster became ready before `child` ended."""
    progress = _Progress()
    while child.poll() is None:
        waiting_for = _probe(launch.host, launch.port)
        if waiting_for is None:
            return True
        progress.show(waiting_for)
        process_tree.reap(keep=child)
        time.sleep(POLL_S)
    return False


def _probe(host: str, port: int) -> str | None:
    """What the cluster is not ready for yet, in words; None when it is."""
    # Not urllib: a proxy in the environment is not for an address of this machine.
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except ConnectionRefusedError:
        return "Ray and its ingress"
    except (OSError, HTTPException):  # it listens, and is too busy starting to answer
        return "the gateway"
    finally:
        connection.close()
    if response.status == HTTPStatus.OK:
        return None
    is_ours = response.getheader("content-type", "").startswith("application/json")
    return f"engines: {' '.join(body.split())[:200]}" if is_ours else "the gateway"


class _Progress:
    """Prints a line when what it is told changes, and now and then when it does not."""

    def __init__(self) -> None:
        self._started_at_s = time.monotonic()
        self._shown_at_s = self._started_at_s
        self._shown = ""

    def show(self, waiting_for: str) -> None:
        now_s = time.monotonic()
        if waiting_for == self._shown and now_s < self._shown_at_s + REPEAT_PROGRESS_S:
            return
        self._shown, self._shown_at_s = waiting_for, now_s
        print(f"{now_s - self._started_at_s:4.0f} s  waiting for {waiting_for}", flush=True)


def _welcome(launch: Launch) -> str:
    url = f"http://{launch.host}:{launch.port}/v1"
    path, body = _example_request(launch.spec.models[0])
    data = json.dumps(body, ensure_ascii=False)
    key = ' \\\n    -H "Authorization: Bearer $KEY"' if launch.spec.has_tenants else ""
    return (
        f"ready: {url}\n\n"
        f"  curl {url}/{path} -H 'Content-Type: application/json'{key} \\\n    -d '{data}'\n\n"
        "Ctrl-C stops it"
    )


def _example_request(model: ModelSpec) -> tuple[str, dict[str, str | int]]:
    """A request that the model can answer, as (path below /v1, body)."""
    if model.engine.get("runner") == "pooling":
        return "embeddings", {"model": model.name, "input": "Hello"}
    prompt = "今天天气" if model.source == "demo" else "The capital of France is"
    return "completions", {"model": model.name, "prompt": prompt, "max_tokens": 16}


def _stop(child: subprocess.Popen[bytes]) -> int:
    """End every process below this one: in order, then by force, at once on a second Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        process_tree.interrupt(child, STOP_GRACE_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    left = process_tree.end_all(KILL_GRACE_S)
    if left:
        return _complain(f"still running: {', '.join(map(str, left))}", FAILED)
    print("stopped; no process left", flush=True)
    return 0


def _gist(log: Path) -> str:
    """The log's last messages, without what buries them: traceback frames, and lines at INFO."""
    text = _COLOR.sub("", log.read_text(encoding="utf-8", errors="replace"))
    lines = _RAY_PREFIX.sub("", text).splitlines()
    told = [line for line in lines if line and not line[0].isspace() and " INFO " not in f" {line}"]
    return "\n".join(f"  {line}" for line in told[-GIST_LINES:])


def _complain(message: str, status: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--spec", default=examples.DEFAULT, help="a file, or an example's name")
    parser.add_argument("--port", type=int, help="port of the endpoint; default: the spec's")
    parser.add_argument("--app", default="serve_app:build", help="what to serve (for tests)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
