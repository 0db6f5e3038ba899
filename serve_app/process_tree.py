"""Every process that this one started, directly or not, and an end for all of them.

Ray and vLLM start processes that detach themselves (new sessions, parents that exit). On Linux a
process can declare itself their heir: an orphaned descendant becomes its child instead of init's,
so the tree below it is always complete, and no process of anyone else is ever in it.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.1
SESSION_NICENESS = 10  # what `nice` gives

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make this process the heir of its descendants' orphans."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def signal_at_parent_death(number: signal.Signals) -> None:
    """Have the kernel send `number` to this process when the thread that started it ends, even by
    SIGKILL of its process."""
    if _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output in `log`.

    Its own session: a terminal's Ctrl-C reaches this process only, which then ends things in order.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal_at_parent_death(signal.SIGTERM),
        )
    _let_other_sessions_first(child.pid)
    return child


def _let_other_sessions_first(pid: int) -> None:
    """Where the kernel shares the CPUs among sessions (autogroup), let all others run before that
    of `pid`, whose engines are always busy: on two cores a `curl` in another terminal was seen to
    wait for ten seconds, and the stream it showed came in one piece."""
    with contextlib.suppress(OSError):  # a kernel without autogroups has nothing to set
        Path(f"/proc/{pid}/autogroup").write_text(str(SESSION_NICENESS), encoding="ascii")


def descendants() -> list[psutil.Process]:
    """All living descendants of this process."""
    return [p for p in psutil.Process().children(recursive=True) if is_alive(p)]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and waits for its parent to notice (a zombie) does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def interrupt(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask `child` to end, as Ctrl-C would, and give it `grace_s` to."""
    child.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)


def end_all(grace_s: float) -> list[psutil.Process]:
    """End what is left: SIGTERM, and after `grace_s` SIGKILL. Returns what outlived even that."""
    left = descendants()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        left = _wait_until_gone(grace_s) if left else left
    return left


def _wait_until_gone(timeout_s: float) -> list[psutil.Process]:
    """Wait for all descendants to be gone; what is left after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while (left := descendants()) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        reap()
    reap()
    return left


def reap(keep: subprocess.Popen[bytes] | None = None) -> None:
    """Collect adopted children that ended, so that none stays a zombie; not `keep`, whose exit
    status is its owner's to collect."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if keep is not None and ended.si_pid == keep.pid:
                return
            os.waitpid(ended.si_pid, 0)
