"""Faults done to a process tree that looks like an engine, and what is left of it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from loadtest.chaos.faults import PAUSES_S, Faults, MissedError, _paused
from loadtest.chaos.plan import Action, Fault
from loadtest.chaos.processes import Herd, processes_of
from loadtest.chaos.view import Answered, EngineRow, Flights, View
from serve_app.process_tree import is_alive
from tests.waiting import eventually, until

ENGINE = """
import subprocess, sys
child = "import setproctitle, signal, sys; setproctitle.setproctitle(sys.argv[1]); print(1, flush=True); signal.pause()"
def start(title):
    process = subprocess.Popen([sys.executable, "-c", child, title], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process
started = [start("VLLM::EngineCore"), start("VLLM::Worker_TP0"), start("other")]
print("ready", flush=True)
sys.stdin.read()
"""  # noqa: E501  # a program
GONE_WITHIN_S = 10.0


@pytest.fixture
def host() -> Iterator[psutil.Process]:
    """A process with a child that is titled as an engine's core, one as a worker, and another."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        tree = psutil.Process(process.pid)
        all_of_it = [tree, *tree.children()]
        yield tree
        for each in all_of_it:
            if each.is_running():
                each.kill()


def view(pid: int) -> View:
    row = EngineRow(id="e", state="ready", pid=pid, busy=0)
    return View({"g": Answered((row,), Flights(active=0, moved=0, failed=0))})


def do(fault: Fault, pid: int, victim: str = "e") -> tuple[str, Faults]:
    async def deploy(asked: Fault) -> str:
        return f"deployed {asked}"

    faults = Faults(deploy)
    return asyncio.run(faults.do(Action(fault, victim), view(pid))), faults


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.KILL_HOST, "host"), (Fault.KILL_CORE, "EngineCore"), (Fault.KILL_WORKER, "Worker")],
)
def test_a_kill_takes_that_process_only(host: psutil.Process, fault: Fault, kind: str) -> None:
    processes = processes_of(host.pid)
    what, faults = do(fault, host.pid)
    (victim,) = processes.pop(kind)
    assert f"{kind} {victim.pid} of engine e" in what
    assert faults.spent == {"e"}
    until(lambda: not is_alive(victim), what=f"{kind} is gone")
    assert all(is_alive(each) for (each,) in processes.values())


def test_a_core_without_workers_is_the_worker(host: psutil.Process) -> None:
    processes = processes_of(host.pid)
    (worker,) = processes["Worker"]
    worker.kill()
    until(lambda: not is_alive(worker), what="the worker is gone")
    what, _ = do(Fault.KILL_WORKER, host.pid)
    assert what == f"EngineCore {processes['EngineCore'][0].pid} of engine e"


def test_a_stalled_core_stays_stopped(host: psutil.Process) -> None:
    _, faults = do(Fault.STALL_CORE, host.pid)
    (core,) = processes_of(host.pid)["EngineCore"]
    until(lambda: is_stopped(core), what="the core stands still")
    assert faults.spent == {"e"}


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def test_a_pause_ends_even_when_it_is_interrupted(host: psutil.Process) -> None:
    async def pause() -> None:
        paused = asyncio.create_task(_paused(host, pause_s=600))
        await eventually(lambda: is_stopped(host), what="it stands still")
        paused.cancel()
        await asyncio.wait({paused})

    asyncio.run(pause())
    until(lambda: not is_stopped(host), what="it goes on")


def test_a_pause_takes_no_engine_away(
    host: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAUSES_S, Fault.PAUSE_CORE, 0.0)
    what, faults = do(Fault.PAUSE_CORE, host.pid)
    (core,) = processes_of(host.pid)["EngineCore"]
    assert what == f"EngineCore {core.pid} of engine e, for 0 s"
    assert not faults.spent
    until(lambda: not is_stopped(core), what="it goes on")


def test_what_serve_does_is_deployed() -> None:
    what, faults = do(Fault.DRAIN, 0, victim="")
    assert what == "deployed drain"
    assert not faults.spent


def test_no_gateway_stays_after_a_redeploy() -> None:
    _, faults = do(Fault.REDEPLOY, 0, victim="")
    assert faults.spent == {"g"}


@pytest.mark.parametrize("fault", [Fault.KILL_HOST, Fault.KILL_GATEWAY])
def test_a_victim_that_is_gone_is_missed(fault: Fault) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(MissedError, match="gone already"):
        do(fault, gone.pid, "e" if fault is Fault.KILL_HOST else str(gone.pid))


def test_a_gateway_is_killed_by_its_pid(host: psutil.Process) -> None:
    (other,) = [child for child in host.children() if child.cmdline()[0].startswith("other")]
    do(Fault.KILL_GATEWAY, 0, str(other.pid))
    until(lambda: not is_alive(other), what="it is gone")


def test_orphans_are_what_outlives_an_engine_that_is_gone(host: psutil.Process) -> None:
    herd = Herd()
    herd.note("e", host.pid)
    assert herd.orphans(living={"e"}, within_s=0) == []
    left = herd.orphans(living=(), within_s=0)
    assert {each.pid for each in left} == {
        each.pid for kind in processes_of(host.pid).values() for each in kind
    }
    for each in left:
        each.send_signal(signal.SIGKILL)
    assert herd.orphans(living=(), within_s=GONE_WITHIN_S) == []
