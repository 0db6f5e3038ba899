"""A thread that waits on ZMQ sockets and does what others ask of it: the switch's event loop.

A plain poll loop rather than asyncio: one wake-up handles every message that has come, without a
future or a task for each, which is what keeps the switch at microseconds per token.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

import zmq
from setproctitle import setthreadtitle

logger = logging.getLogger("tokenfleet.switch")

TICK_S = 0.1
"""How often `on_tick` is called, and the longest the loop sleeps."""

STOP_TIMEOUT_S = 5.0

_T = TypeVar("_T")


class Reactor:
    """Starts with `start`. `post`, `call` and `stop` are for any thread, the rest for its own.

    `on_turn` is called after every wake-up, `on_tick` every TICK_S with the monotonic time,
    `on_stop` last of all.
    """

    def __init__(
        self,
        name: str,
        *,
        on_turn: Callable[[], None],
        on_tick: Callable[[float], None],
        on_stop: Callable[[], None],
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._on_turn, self._on_tick, self._on_stop = on_turn, on_tick, on_stop
        self._name = name
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._next_tick_s = 0.0
        self._running, self._stopped = True, False
        self._stopping = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def post(self, command: Callable[[], None]) -> None:
        """Run `command` on the reactor's thread, soon; never, once it has stopped."""
        with self._stopping:
            if not self._stopped:
                self._commands.put(command)
                os.eventfd_write(self._wake_fd, 1)

    def call(self, function: Callable[[], _T], timeout_s: float = 5.0) -> _T:
        """Run `function` there and wait for its value. Raises what it raises, or TimeoutError."""
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self.post(run)
        return done.result(timeout_s)

    def stop(self) -> None:
        """End the thread; its sockets are closed. Stopping twice is fine."""
        self.post(self._halt)
        self._thread.join(STOP_TIMEOUT_S)

    def register(self, socket: zmq.Socket[bytes], handler: Callable[[], None]) -> None:
        """Call `handler` whenever `socket` has something to read."""
        self._poller.register(socket, zmq.POLLIN)
        self._handlers[socket] = handler

    def unregister(self, socket: zmq.Socket[bytes]) -> None:
        """No longer watch `socket`."""
        self._poller.unregister(socket)
        del self._handlers[socket]

    def _run(self) -> None:
        setthreadtitle(
            self._name
        )  # seen in top -H and by the benchmark; Python 3.14 does it itself
        self._poller.register(self._wake_fd, zmq.POLLIN)
        self._handlers[self._wake_fd] = self._run_commands
        while self._running:
            self._turn()
        self._guarded(self._on_stop)
        self.context.destroy(linger=0)
        with self._stopping:
            self._stopped = True
            os.close(self._wake_fd)

    def _turn(self) -> None:
        for source, _ in self._poller.poll(round(TICK_S * 1000)):
            handler = self._handlers.get(source)
            if handler is not None:  # None: closed by an earlier handler of this turn
                self._guarded(handler)
        self._guarded(self._on_turn)
        now_s = time.monotonic()
        if now_s >= self._next_tick_s:
            self._next_tick_s = now_s + TICK_S
            self._guarded(lambda: self._on_tick(now_s))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # One bad message or link must not end everybody's streams.
            logger.exception("%s: a handler failed", self._name)

    def _run_commands(self) -> None:
        os.eventfd_read(self._wake_fd)
        while not self._commands.empty():
            self._guarded(self._commands.get())

    def _halt(self) -> None:
        self._running = False
