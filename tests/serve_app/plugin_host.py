"""An engine host in miniature, run as a program: starts one child process as vLLM does, from an
executor's thread as `serve_app.engine` does; the child leaves its pid in FOLDER, and both wait.

    python -m tests.serve_app.plugin_host WHAT FOLDER

WHAT: `wait`, or `end-starter` (the thread that started the child ends, the process stays).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serve_app.vllm_plugin import register


def child(folder: Path) -> None:
    """What vLLM's processes do first: load the plugins."""
    register()
    try:
        raise MemoryError("no room for\nthe cache")
    except MemoryError:
        logging.getLogger("vllm.v1.engine.core").exception("EngineCore failed to start.")
    (folder / "pid.new").write_text(str(os.getpid()))
    (folder / "pid.new").rename(folder / "pid")
    threading.Event().wait()


def main(what: str, folder: Path) -> None:
    register()  # the host loads plugins too: it must outlive whatever started it
    process = multiprocessing.get_context("spawn").Process(target=child, args=(folder,))
    starter = ThreadPoolExecutor(1)
    starter.submit(process.start).result()
    while not (folder / "pid").exists():
        process.join(0.05)
        if not process.is_alive():
            sys.exit("the child ended before it was ready")
    if what == "end-starter":
        starter.shutdown()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
