"""Runs inside every vLLM process of an engine (entry point group `vllm.general_plugins`).

Three things only the child itself can do: ask the kernel to die with its parent, so that no
EngineCore or worker outlives its host however the host dies; write its start-up failure where the
host can read it, since vLLM gives the parent only "see root cause above"; wait for its fellows
asleep (`serve_app.vllm_waiting`). Does nothing in processes that no engine host started (a bare
vLLM server in the same environment, the Gateway).
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from serve_app.process_tree import signal_at_parent_death
from serve_app.settings import ENGINE_ERRORS_ENV


def register() -> None:
    """vLLM calls this once per process, before it builds anything."""
    errors = os.environ.get(ENGINE_ERRORS_ENV)
    if errors is None or not _is_vllm_child():
        return
    die_with_parent()
    handler = _ErrorFile(Path(errors))
    logging.getLogger("vllm").addHandler(handler)
    from serve_app.vllm_waiting import sleep_on_cpus  # needs a vLLM that is already imported

    sleep_on_cpus()


def die_with_parent() -> None:
    """SIGKILL for this process as soon as the thread that started it is gone."""
    parent = os.getppid()
    signal_at_parent_death(signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        sys.exit("the parent of this vLLM process died while it started")


def _is_vllm_child() -> bool:
    # The host itself loads plugins too (it builds the engine config): it must not die with *its*
    # parent thread. vLLM starts its processes with multiprocessing, which names the parent.
    return multiprocessing.parent_process() is not None


class _ErrorFile(logging.Handler):
    """Appends each error's exception (or message) as one line."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = f"{type(error).__name__}: {error}" if error is not None else record.getMessage()
        # Once the engine is up nobody reads the file, and the host removes it.
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(text.replace("\n", " ") + "\n")
