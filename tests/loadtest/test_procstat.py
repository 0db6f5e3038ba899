"""Roles by title, families by port, and CPU clocks of this very process."""

import ctypes
import os
import socket
import threading

import pytest

from loadtest import procstat
from loadtest.procstat import Meter, Process, Role, family, role_of

SESSION = "/tmp/ray/session_2026-01-02_03-04-05_678901_4242"
RAYLET = f"/venv/ray/core/src/ray/raylet/raylet --session_dir={SESSION}"
PR_SET_NAME = 15


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("VLLM::EngineCore", Role.ENGINE_CORE),
        ("VLLM::Worker_TP1", Role.ENGINE_CORE),
        ("ray::ServeReplica:default:Gateway", Role.GATEWAY),
        ("ray::ServeReplica:default:Gateway.handle_request", Role.GATEWAY),
        ("ray::ServeReplica:default:Engine:demo", Role.ENGINE_HOST),
        ("ray::ServeReplica:default:Engine:Gateway", Role.ENGINE_HOST),
        ("ray::ServeReplica:default:Other", Role.RAY),
        ("/venv/bin/haproxy -db -f /tmp/haproxy.cfg", Role.HAPROXY),
        ("ray::HAProxyManager", Role.RAY),
        ("ray::ServeController.listen_for_change", Role.RAY),
        (RAYLET, Role.RAY),
        ("ray-dashboard-NodeHead-0 (/bin/python -c from multiprocessing.forkserver", Role.RAY),
        ("/bin/python -c from multiprocessing.forkserver (['ray', 'ray.dashboard'])", Role.RAY),
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/tmp", Role.RAY),
        ("/bin/python -m vllm.entrypoints.openai.api_server --model /ray/m", Role.API_SERVER),
        ("/bin/python /bin/vllm serve demo", Role.API_SERVER),
        ("/bin/python -c from multiprocessing.resource_tracker import main", Role.OTHER),
    ],
)
def test_roles_by_title(title: str, role: Role) -> None:
    assert role_of(title) is role


def table(*rows: tuple[int, int, str]) -> dict[int, Process]:
    return {pid: Process(pid, ppid, title) for pid, ppid, title in rows}


MACHINE = table(
    (1, 0, "init"),
    (10, 1, f"/venv/ray/gcs_server --log_dir={SESSION}/logs"),
    (11, 1, RAYLET),
    (12, 11, "ray::HAProxyManager"),
    (13, 12, "haproxy -db"),
    (14, 11, "ray::ServeReplica:default:Engine:demo"),
    (15, 14, "VLLM::EngineCore"),
    (20, 1, "python -m vllm.entrypoints.openai.api_server"),
    (21, 20, "VLLM::EngineCore"),
    (30, 1, RAYLET.replace("4242", "77")),
    (31, 30, "ray::ServeReplica:default:Gateway"),
)


@pytest.mark.parametrize(
    ("listener", "members"),
    [
        pytest.param(13, {10, 11, 12, 13, 14, 15}, id="a Ray session, its GCS included"),
        pytest.param(20, {20, 21}, id="any other server with its descendants"),
        pytest.param(31, {30, 31}, id="another session of the same machine is another server"),
        pytest.param(None, set(), id="nobody"),
    ],
)
def test_families(listener: int | None, members: set[int]) -> None:
    assert {p.pid for p in family([listener], MACHINE)} == members


def test_a_server_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert os.getpid() in {p.pid for p in procstat.server_processes(port)}
    assert procstat.server_processes(port) == []


def test_the_cpu_clock_of_a_process_runs_while_it_works() -> None:
    before_s = procstat.cpu_s(os.getpid())
    sum(range(100_000))
    assert procstat.cpu_s(os.getpid()) > before_s > 0


def test_a_process_that_is_gone_has_no_clock() -> None:
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        procstat.cpu_s(gone)
    assert procstat.read_meters([Process(gone, 1, "VLLM::EngineCore")]) == {}


def test_the_switch_thread_is_counted_apart_from_its_gateway() -> None:
    named, done = threading.Event(), threading.Event()

    def run() -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"switch-demo")
        named.set()
        done.wait()

    assert procstat.switch_cpu_s(os.getpid()) is None
    thread = threading.Thread(target=run)
    thread.start()
    named.wait()
    try:
        readings = procstat.read_meters([Process(os.getpid(), 1, "ray::ServeReplica:a:Gateway")])
    finally:
        done.set()
        thread.join()
    switch = Meter(Role.SWITCH, os.getpid())
    assert set(readings) == {switch, Meter(Role.GATEWAY, os.getpid())}
    assert 0 <= readings[switch] < readings[Meter(Role.GATEWAY, os.getpid())]


def test_spent_adds_up_a_role_and_leaves_out_what_came_or_went() -> None:
    core, worker, host = Meter(Role.ENGINE_CORE, 1), Meter(Role.ENGINE_CORE, 2), Meter(Role.RAY, 3)
    before = {core: 1.0, worker: 2.0, host: 5.0}
    after = {core: 1.5, worker: 2.25, Meter(Role.RAY, 4): 9.0}
    assert procstat.spent_s(before, after) == {Role.ENGINE_CORE: 0.75}


def test_placement_names_threads_and_cpus() -> None:
    assert "threads on CPUs [" in procstat.placement(Process(os.getpid(), 1, ""))
