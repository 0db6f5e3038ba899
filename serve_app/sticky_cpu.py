"""Keeps what computes tokens on one CPU, where vLLM leaves it to the kernel.

An EngineCore that computes on a CPU keeps one busy. Its host, the gateway and HAProxy wake up with
every step that it has done, and the kernel makes room for them by moving the core to and fro: with
each move it loses its caches. On 2 CPUs, at 1 and at 32 streams, one that stayed where it was made
a tenth more tokens a second (README, "Measured").

Which CPU is the kernel's choice: this only holds on to it, as long as the core need not wait for
it. Where it must, because another core has been held to the same one or there are more of them than
CPUs, it is the kernel's to move again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from contextlib import suppress
from pathlib import Path

from vllm.config import VllmConfig

LOOK_EVERY_S = 1.0
MOST_WAIT_FRAC = 0.1
"""Of its time that it may be ready to run and not run: twice what a core waits that has a CPU but
for the wake-ups of the others."""

BIND_ENV = "VLLM_CPU_OMP_THREADS_BIND"


def leaves_it_to_the_kernel(config: VllmConfig, device: str) -> bool:
    """Whether the EngineCore itself computes, on a CPU that vLLM does not choose."""
    on_cpu = device == "cpu" and os.environ.get(BIND_ENV) == "nobind"
    return on_cpu and config.parallel_config.world_size == 1


class StickyCpu:
    """The main thread of process `pid`. Raises OSError where there is none."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._allowed = os.sched_getaffinity(pid)
        self._looked_at_ns, self._waited_ns = time.monotonic_ns(), self._read_waited_ns()

    def look(self) -> None:
        """Hold it where it is, or let it go, by how long it has waited since the last look. Raises
        OSError where it has ended."""
        now_ns, waited_ns = time.monotonic_ns(), self._read_waited_ns()
        passed_ns = now_ns - self._looked_at_ns
        waits = waited_ns - self._waited_ns > MOST_WAIT_FRAC * passed_ns
        self._looked_at_ns, self._waited_ns = now_ns, waited_ns
        os.sched_setaffinity(self._pid, self._allowed if waits else {self._last_cpu()})

    def _read_waited_ns(self) -> int:
        """Time that it was ready to run and did not (proc_pid_schedstat)."""
        return int(Path(f"/proc/{self._pid}/schedstat").read_text(encoding="ascii").split()[1])

    def _last_cpu(self) -> int:
        """Where it ran last: the 39th field, counted from behind the name, which may hold anything
        (proc_pid_stat)."""
        stat = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[36])


async def hold_engine_core() -> None:
    """Hold this process's EngineCore, which has started, until it ends."""
    with suppress(OSError):
        held = [StickyCpu(child.pid) for child in multiprocessing.active_children() if child.pid]
        while held:
            await asyncio.sleep(LOOK_EVERY_S)
            for each in held:
                each.look()
