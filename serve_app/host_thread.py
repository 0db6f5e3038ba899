"""A thread with an event loop that outlives the actor's.

On SIGTERM Ray ends an actor's event loop at once, and the process goes on to its `atexit`
functions. What must still run then, an engine host that moves its streams away, lives on this loop.
The thread is a daemon: the interpreter joins others before `atexit`. It also ends no earlier than
the process, as the engine core needs: the kernel takes the *thread* that started the core for the
parent whose death ends it (see `vllm_plugin`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class HostThread:
    """`run` awaits a coroutine there; `finish` blocks on one, where no loop runs any more."""

    def __init__(self, name: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises; cancelled with the caller."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
