"""Every process that this one started, directly or not: to find an engine, and to end what is left.

Ray Serve LLM leaves engine processes behind, whose parents are gone. This process declares itself
the heir of its descendants' orphans (Linux), so the tree below it stays complete, and no process of
anyone else is ever in it.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.1
TERMINATE_WITHIN_S = 10.0
ENGINE_CORE = "VLLM::EngineCore"


def adopt_orphans() -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def living() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if title(p)]


def title(process: psutil.Process) -> str:
    """Its command line, as it may have rewritten it; empty where it has ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def engine_cores() -> list[psutil.Process]:
    """In the order in which they were started."""
    cores = [p for p in living() if title(p).startswith(ENGINE_CORE)]
    return sorted(cores, key=lambda p: (p.create_time(), p.pid))


def end_all(within_s: float = TERMINATE_WITHIN_S) -> None:
    """Ends whatever is left: SIGTERM, then SIGKILL. Says what it found."""
    found = living()
    for process in found:
        print(f"ending leftover {process.pid}: {title(process)}", file=sys.stderr)
    _signal_and_wait(found, psutil.Process.terminate, within_s)
    while left := living():
        _signal_and_wait(left, psutil.Process.kill, within_s)
    _reap()


def _signal_and_wait(
    processes: Sequence[psutil.Process], send: Callable[[psutil.Process], None], within_s: float
) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            send(process)
    deadline_s = time.monotonic() + within_s
    while living() and time.monotonic() < deadline_s:
        _reap()
        time.sleep(POLL_S)


def _reap() -> None:
    """Collects children that ended. For when no started process is waited for elsewhere."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
