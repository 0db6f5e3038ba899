"""How vLLM's processes wait for each other where the model runs on the CPU: asleep.

An EngineCore and its workers hand each other every step through a queue in shared memory, and wait
for it in a loop around `sched_yield`. Beside a GPU that costs a core which nobody misses; on CPUs
it takes the core from the model, and from all that brings its tokens to the client. Short sleeps
cost each step about 0.1 ms and free most of that core.

vLLM has no option for this: `shm_broadcast.SpinCondition` is its own affair, and
`tests/serve_app/test_vllm_waiting.py` fails loudly when it changes shape.
"""

from __future__ import annotations

import time

from vllm.distributed.device_communicators import shm_broadcast
from vllm.platforms import current_platform

SLEEP_S = 50e-6


class SleepingCondition(shm_broadcast.SpinCondition):
    """Sleeps where the original spins; when nothing comes for a second, both block."""

    def wait(self, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(SLEEP_S)
        else:
            super().wait(timeout_ms)


def sleep_on_cpus() -> None:
    """Have every queue that this process makes from now on wait so, if its device is the CPU."""
    if current_platform.is_cpu():
        shm_broadcast.SpinCondition = SleepingCondition
