"""CPU seconds of a server's processes, by role. Linux only, for its per-process CPU clocks.

A server is found by the port it listens on, so it does not matter who started it: a Ray cluster is
every process of the Ray session that owns the port's listener, any other server is the listener
with its descendants. Roles come from process titles, which vLLM and Ray set themselves.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import psutil

RAY_SESSION = re.compile(r"session_\d{4}-\d\d-\d\d_[\d-]+_\d+_\d+")
SWITCH_THREAD = "switch"  # how the name of a gateway's switch thread starts


class Role(StrEnum):
    ENGINE_CORE = "engine core"
    ENGINE_HOST = "engine host"
    GATEWAY = "gateway"
    SWITCH = "switch thread"  # a thread of the gateway process, not counted under GATEWAY
    API_SERVER = "API server"
    HAPROXY = "HAProxy"
    RAY = "Ray and Serve"
    OTHER = "other"  # of the server
    CLIENT = "load client"
    REST = "rest of the machine"  # everything that is neither server nor client


# First match wins. vLLM titles the core and its workers `VLLM::...`; Serve titles a replica
# `ray::ServeReplica:<app>:<deployment>`, with the running method behind a dot. Paths may say
# anything, so a bare API server is told by its module before Ray's processes by their folders.
ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"^VLLM::"), Role.ENGINE_CORE),
    (re.compile(r"^ray::ServeReplica:[^:]*:Gateway"), Role.GATEWAY),
    (re.compile(r"^ray::ServeReplica:[^:]*:Engine"), Role.ENGINE_HOST),
    (re.compile(r"^(\S*/)?haproxy( |$)"), Role.HAPROXY),
    (re.compile(r" -m vllm\.entrypoints\.|\bvllm serve "), Role.API_SERVER),
    (re.compile(r"^ray(::|-dashboard)|/ray/|'ray\.dashboard|/raylet |/gcs_server "), Role.RAY),
)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    ppid: int
    title: str  # the command line, as the process may have rewritten it


class Meter(NamedTuple):
    """One thing with a CPU clock: a process, or a gateway's switch thread within it."""

    role: Role
    pid: int


def role_of(title: str) -> Role:
    return next((role for pattern, role in ROLES if pattern.search(title)), Role.OTHER)


def processes() -> dict[int, Process]:
    """All processes of this machine by pid; kernel threads, which have no title, left out."""
    found: dict[int, Process] = {}
    for running in psutil.process_iter(["ppid", "cmdline"]):
        title = " ".join(running.info["cmdline"] or ()).strip("\0 ")
        if title:
            found[running.pid] = Process(running.pid, running.info["ppid"], title)
    return found


def server_processes(port: int) -> list[Process]:
    """Every process of the server that listens on `port` of this machine; empty if none does."""
    table = processes()
    listeners = [
        c.pid
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,) and c.pid in table
    ]
    return family(listeners, table)


def family(pids: Iterable[int | None], table: Mapping[int, Process]) -> list[Process]:
    """Every process of the servers that `pids` belong to."""
    roots = {root for pid in pids if pid is not None for root in _roots(pid, table)}
    return [p for p in table.values() if not roots.isdisjoint(_ancestry(p.pid, table))]


def _ancestry(pid: int, table: Mapping[int, Process]) -> Iterator[int]:
    """`pid` and its ancestors, nearest first."""
    while pid in table:
        yield pid
        pid = table[pid].ppid


def _roots(pid: int, table: Mapping[int, Process]) -> set[int]:
    """Processes whose descendants make up the server that `pid` belongs to."""
    for ancestor in _ancestry(pid, table):
        session = RAY_SESSION.search(table[ancestor].title)
        if session and role_of(table[ancestor].title) is Role.RAY:
            return {p.pid for p in table.values() if session[0] in p.title}
    return {pid}


def cpu_s(pid: int) -> float:
    """User and system seconds of all threads so far, ended ones included. Raises OSError if gone.

    The kernel's per-process CPU clock, in ns, where /proc/PID/stat counts ticks of 10 ms: at one
    stream a whole cell costs the engine host only a few ticks. Its id is what
    clock_getcpuclockid(3) returns.
    """
    return time.clock_gettime((~pid << 3) | 2)


def switch_cpu_s(pid: int) -> float | None:
    """CPU seconds of the process's switch thread(s); None where none carries that name."""
    spent_ns: list[int] = []
    for task in Path("/proc", str(pid), "task").iterdir():
        with suppress(OSError):  # threads end while being read
            if (task / "comm").read_text().startswith(SWITCH_THREAD):
                spent_ns.append(int((task / "schedstat").read_text().split()[0]))
    return sum(spent_ns) / 1e9 if spent_ns else None


def read_meters(server: Iterable[Process]) -> dict[Meter, float]:
    """CPU seconds so far, by meter. Processes that ended are left out."""
    readings: dict[Meter, float] = {}
    for process in server:
        with suppress(OSError):
            role = role_of(process.title)
            readings[Meter(role, process.pid)] = cpu_s(process.pid)
            if role is Role.GATEWAY and (switch_s := switch_cpu_s(process.pid)) is not None:
                readings[Meter(Role.SWITCH, process.pid)] = switch_s
                readings[Meter(role, process.pid)] -= switch_s
    return readings


def machine_cpu_s() -> float:
    """CPU seconds of the whole machine so far, what its hypervisor took away included; in ticks."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def spent_s(before: Mapping[Meter, float], after: Mapping[Meter, float]) -> dict[Role, float]:
    """CPU seconds between two readings, by role, of what is in both."""
    spent: dict[Role, float] = {}
    for meter in before.keys() & after.keys():
        spent[meter.role] = spent.get(meter.role, 0.0) + after[meter] - before[meter]
    return spent


def placement(process: Process) -> str:
    """Threads and allowed CPUs, to show that two servers were given the same; empty if gone."""
    with suppress(psutil.Error):
        running = psutil.Process(process.pid)
        return f"{running.num_threads()} threads on CPUs {running.cpu_affinity()}"
    return ""
