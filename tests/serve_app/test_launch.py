"""`make serve`: what it says while it starts, that it starts, and that it leaves nothing behind."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from cluster.spec import ModelSpec
from serve_app import ingress, launch, process_tree
from serve_app.ingress import ANY_PORT, free_ports, haproxy_environment, is_free
from serve_app.settings import HAPROXY_BINARY_ENV


def free_port() -> int:
    return free_ports(0)[0]


@contextmanager
def answering(status: int, body: bytes, content_type: str) -> Iterator[int]:
    """A server that answers every GET so; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "content_type", "expected"),
    [
        (503, b"no route", "text/plain", "the gateway"),
        (404, b"no route", "text/html", "the gateway"),
        (503, b'{"demo":\n 0}', "application/json", 'engines: {"demo": 0}'),
        (200, b"{}", "application/json", None),
    ],
    ids=["the ingress is alone", "a gateway without models", "engines are missing", "all is there"],
)
def test_progress_names_what_is_missing(
    status: int, body: bytes, content_type: str, expected: str | None
) -> None:
    with answering(status, body, content_type) as port:
        assert launch._probe("127.0.0.1", port) == expected


def test_progress_before_anything_listens() -> None:
    assert launch._probe("127.0.0.1", free_port()) == "Ray and its ingress"


def test_progress_is_printed_when_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = launch._Progress()
    for waiting_for in ("Ray", "Ray", "engines"):
        progress.show(waiting_for)
    assert [line.split("for ")[1] for line in capsys.readouterr().out.splitlines()] == [
        "Ray",
        "engines",
    ]


def test_the_gist_of_a_log_is_its_messages(tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    log.write_text(
        "\x1b[36m(ServeController pid=17)\x1b[0m Traceback (most recent call last):\n"
        '\x1b[36m(ServeController pid=17)\x1b[0m   File "engine.py", line 1, in start\n'
        "\x1b[36m(ServeController pid=17)\x1b[0m     start()\n"
        "\x1b[36m(ServeController pid=17)\x1b[0m ValueError: no such model\n"
        "\x1b[36m(ServeController pid=17)\x1b[0m INFO 2026-01-01 controller 17 -- stopped.\n"
        "2026-01-01 INFO scripts.py:499 -- Running import path\n"
    )
    gist = launch._gist(log).split("\n")
    assert gist == ["  Traceback (most recent call last):", "  ValueError: no such model"]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (ModelSpec(name="demo", source="demo"), "completions"),
        (ModelSpec(name="e", source="org/e", engine={"runner": "pooling"}), "embeddings"),
    ],
    ids=["a generating model", "an embedding model"],
)
def test_the_example_fits_the_model(model: ModelSpec, path: str) -> None:
    assert launch._example_request(model)[0] == path


def test_ports_are_free_and_distinct() -> None:
    ports = [*free_ports(0, 0, 0), *free_ports(0, 0)]
    assert len(set(ports)) == 5
    assert all(is_free("127.0.0.1", port) for port in ports)


def test_no_connection_is_given_a_port_that_was_found() -> None:
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(range_file.read_text().split()[0])
    assert ANY_PORT[-1] < lowest
    with socket.create_server(("", 0)) as taken:
        assert free_ports(taken.getsockname()[1])[0] in ANY_PORT


def test_where_every_port_is_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ingress, "ANY_PORT", range(port, port + 1))
        with pytest.raises(OSError, match=f"no port of {port} to {port} is free"):
            free_ports(0)


def test_a_taken_port_is_replaced() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert free_ports(port) != [port]


def test_a_port_that_another_process_was_given_is_replaced() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]  # that this process was not given
    ask = f"from serve_app import ingress; print(ingress.free_ports({port}), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == f"[{port}]\n".encode()
        assert free_ports(port) != [port]
        other.communicate(b"\n")
    assert free_ports(port) == [port] == free_ports(port)


def test_two_clusters_share_no_file(tmp_path: Path) -> None:
    ours, theirs = (haproxy_environment(tmp_path / name) for name in "ab")
    assert ours.pop(HAPROXY_BINARY_ENV) == theirs.pop(HAPROXY_BINARY_ENV)
    files = {v for v in ours.values() if v.startswith("/")}
    assert len(files) == 5
    assert files.isdisjoint(theirs.values())


@pytest.mark.parametrize("spec", ["spec-nowhere.yaml", "broken.yaml"])
def test_a_wrong_spec_starts_nothing(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("models: [{name: m, source: demo, replicas: 0}]")
    path = str(file) if spec == "broken.yaml" else spec
    assert launch.main(["--spec", path]) == launch.WRONG_INPUT
    assert spec in capsys.readouterr().err


def test_a_taken_port_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert launch.main(["--port", str(port)]) == launch.FAILED
    assert f"port {port} of 127.0.0.1 is taken" in capsys.readouterr().err


# A process that detaches a child from itself, ends, and so leaves an orphan that ignores SIGTERM.
ORPHAN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
signal.pause()
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {ORPHAN!r}], start_new_session=True,
                         stdout=subprocess.PIPE)
child.stdout.readline()
"""
HEIR = f"""
import subprocess, sys
from serve_app import process_tree
process_tree.adopt_orphans()
subprocess.run([sys.executable, "-c", {PARENT!r}], check=True)
print(len(process_tree.descendants()), len(process_tree.end_all(0.5)), flush=True)
print(len(process_tree.descendants()))
"""


def test_orphans_that_ignore_sigterm_are_found_and_ended() -> None:
    output = subprocess.run(
        [sys.executable, "-c", HEIR], capture_output=True, check=True, text=True
    )
    assert output.stdout.split() == ["1", "0", "0"]


def test_reaping_leaves_a_childs_status_to_its_owner(tmp_path: Path) -> None:
    child = process_tree.spawn([sys.executable, "-c", "exit(7)"], os.environ, tmp_path / "log")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    process_tree.reap(keep=child)
    assert child.wait() == 7


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel does not share CPUs by session"
)
def test_what_is_spawned_leaves_other_sessions_their_cpu(tmp_path: Path) -> None:
    child = process_tree.spawn([sys.executable, "-c", "input()"], os.environ, tmp_path / "log")
    niceness = Path(f"/proc/{child.pid}/autogroup").read_text().split()[-1]
    child.wait()
    assert int(niceness) == process_tree.SESSION_NICENESS > 0


class Launcher:
    """The launcher as a process of its own, of a stand-in application."""

    def __init__(self, builder: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "serve_app.launch", f"--port={self.port}"]
        command += [f"--app=tests.serve_app.standin:{builder}"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started: list[psutil.Process] = []

    def read_until(self, start: str) -> str:
        """What it printed, through the first line that starts so, or its end."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith(start):
                break
        return "".join(lines)

    def note_processes(self) -> None:
        self.started = psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> tuple[int, list[psutil.Process]]:
        """Its exit status, and what still runs of all it started."""
        status = self.process.wait(120)
        return status, [p for p in self.started if process_tree.is_alive(p)]

    def close(self) -> None:
        """End it, and so all it started."""
        self.process.terminate()
        self.process.communicate(timeout=120)


@pytest.fixture
def launchers() -> Iterator[list[Launcher]]:
    """Ends what a failed test leaves."""
    made: list[Launcher] = []
    yield made
    for launcher in made:
        launcher.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_polite_signal_means_stop(number: signal.Signals) -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        launch._interrupt_on_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.integration
def test_it_serves_until_told_to_stop_and_leaves_nothing(launchers: list[Launcher]) -> None:
    launcher = Launcher("build")
    launchers.append(launcher)
    output = launcher.read_until("Ctrl-C")
    assert f"ready: http://127.0.0.1:{launcher.port}/v1" in output, output
    connection = HTTPConnection("127.0.0.1", launcher.port, timeout=30)
    connection.request("GET", "/ready")
    assert connection.getresponse().status == 200
    connection.close()
    launcher.note_processes()
    names = {p.name() for p in launcher.started if process_tree.is_alive(p)}
    assert {"raylet", "haproxy"} <= names

    launcher.process.send_signal(signal.SIGINT)
    assert "stopped; no process left" in launcher.read_until("stopped")
    assert launcher.end() == (0, [])


@pytest.mark.integration
def test_a_failed_start_shows_why_and_leaves_nothing(launchers: list[Launcher]) -> None:
    launcher = Launcher("build_broken")
    launchers.append(launcher)
    launcher.read_until("   ")  # the first line of progress: Ray is starting
    launcher.note_processes()
    output = launcher.read_until("stopped")
    assert "RuntimeError: no such model: the message that the user must see" in output, output
    assert launcher.end() == (launch.FAILED, [])
