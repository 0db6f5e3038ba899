"""The switch: one per model in each Gateway process, on its own thread, between the API server's
engine client and the engine hosts.

To the API server it is the one engine that never dies (vLLM's "externally managed engine": it
connects to the client's two ZMQ sockets); to each engine host it is an API server. What it does
with a message is decided in `switch_core`; this file owns the sockets, the thread and the clock.

It speaks only vLLM's engine protocol to the API server, so that any server that speaks it too can
stand there.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import zmq
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, EngineCoreRequestType
from vllm.v1.engine import UtilityOutput as VllmUtilityOutput
from vllm.v1.serial_utils import MsgpackDecoder, UtilityResult

from cluster.failover import FailoverLimits, LossCause
from cluster.routing import Router
from cluster.types import ReplicaId
from serve_app.flights import Failure
from serve_app.link import RECONNECT_AFTER_S, Heartbeat, Link
from serve_app.switch_core import SwitchCore
from serve_app.wire import (
    WIRE_VERSION,
    Abort,
    Bye,
    Frames,
    Kind,
    Load,
    OutputsCodec,
    Ready,
    RequestCodec,
    Result,
    Utility,
    WireError,
    buffer_of,
    kind_of,
    pack,
    unpack,
)

logger = logging.getLogger("tokenfleet.switch")

FRONT_IDENTITY = (0).to_bytes(2, "little")
"""vLLM names the engine of data-parallel rank 0 so; the API server waits for a message from it."""

TICK_S = 0.1
STATS_EVERY_S = 1.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FrontAddresses:
    """Where the API server's engine client binds: it sends requests on `input`, reads `output`."""

    input: str
    output: str

    @classmethod
    def fresh(cls) -> FrontAddresses:
        """Abstract-namespace IPC addresses that no other process uses and that leave no file."""
        stem = f"ipc://@tokenfleet-{os.getpid()}-{uuid.uuid4().hex}"
        return cls(f"{stem}-in", f"{stem}-out")

    def for_vllm(self) -> dict[str, str]:
        """The `client_addresses` argument of vLLM's `AsyncLLM`."""
        return {"input_address": self.input, "output_address": self.output}


class Switch:
    """Runs from construction until `stop`. Every public method may be called from any thread.

    `on_engines` is called, from the switch's thread, with the number of engines that can take a
    request, whenever it has changed.
    """

    def __init__(
        self,
        *,
        name: str,
        router: Router,
        limits: FailoverLimits,
        heartbeat: Heartbeat,
        rng: random.Random | None = None,
        on_engines: Callable[[int], None] | None = None,
    ) -> None:
        self.name = name
        self.front = FrontAddresses.fresh()
        self._id = f"{name}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._heartbeat = heartbeat
        self._on_engines = on_engines
        self._told_engines = 0
        self._core = SwitchCore(
            router=router,
            rng=rng or random.Random(),
            limits=limits,
            ports=self,
            session=uuid.uuid4().hex[:6],
        )
        self._ready: Future[Ready] = Future()  # of the first engine ever ready
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._links: dict[str, Link] = {}
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"switch-{name}", daemon=True)
        self._thread.start()

    # Any thread

    def set_members(self, endpoints: Mapping[str, str]) -> None:
        """The engines that exist now, by replica id; called whenever the set changes."""
        members = dict(endpoints)
        self._post(lambda: self._apply_members(members))

    def first_ready(self) -> Future[Ready]:
        """Done when the first engine of this model is ready, with what it said."""
        return self._ready

    def attach_front(self) -> None:
        """Connect to the API server's sockets and announce the engine; call once an engine is
        ready, before or while the engine client is built."""
        self._post(self._connect_front)

    def failure_of(self, external_request_id: str) -> Failure | None:
        """Why a request ended in an error, if the switch ended it."""
        return self._core.failures.get(external_request_id)

    def snapshot(self) -> dict[str, Any]:
        """Engines and flights as `GET /fleet` shows them."""
        return self._call(self._snapshot)

    def ready_engines(self) -> int:
        """How many engines can take a request now."""
        return len(self._core.engines)

    def stop(self) -> None:
        """End the thread and close every socket; flights end with their engines' knowledge."""
        if self._thread.is_alive():
            self._post(self._halt)
            self._thread.join(timeout=5)

    def _post(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        os.eventfd_write(self._wake_fd, 1)

    def _call(self, function: Callable[[], _T], timeout_s: float = 5.0) -> _T:
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except Exception as error:
                done.set_exception(error)

        self._post(run)
        return done.result(timeout_s)

    # The switch's thread, from here on

    def _run(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Callable[[], None]] = {}
        self._requests, self._outputs = RequestCodec(), OutputsCodec()
        self._generic_decoder = MsgpackDecoder()
        self._front_in: zmq.Socket[bytes] | None = None
        self._front_out: zmq.Socket[bytes] | None = None
        self._next_tick_s = self._next_stats_s = 0.0
        self._poller.register(self._wake_fd, zmq.POLLIN)
        self._handlers[self._wake_fd] = self._run_commands
        while self._running:
            self._turn()
        for link in self._links.values():
            link.close()
        self._context.destroy(linger=0)
        os.close(self._wake_fd)

    def _turn(self) -> None:
        """Handle whatever is ready, then what is due."""
        for source, _ in self._poller.poll(round(TICK_S * 1000)):
            handler = self._handlers.get(source)
            if handler is None:
                continue  # closed by an earlier handler of this turn
            try:
                handler()
            except Exception:
                # One bad message or link must not end everybody's streams.
                logger.exception("switch %s: a handler failed", self.name)
        self._tell_engines()
        now_s = time.monotonic()
        if now_s >= self._next_tick_s:
            self._next_tick_s = now_s + TICK_S
            self._tick(now_s)

    def _tell_engines(self) -> None:
        engines = len(self._core.engines)
        if engines != self._told_engines:
            self._told_engines = engines
            if self._on_engines is not None:
                self._on_engines(engines)

    def _tick(self, now_s: float) -> None:
        self._core.tick(now_s)
        for link in self._links.values():
            if link.retry_at_s is not None and now_s >= link.retry_at_s:
                link.connect(self._id)
        if self._front_out is not None and now_s >= self._next_stats_s:
            self._next_stats_s = now_s + STATS_EVERY_S
            self.outputs(self._core.stats())

    def _run_commands(self) -> None:
        os.eventfd_read(self._wake_fd)
        while not self._commands.empty():
            self._commands.get()()

    def _halt(self) -> None:
        self._running = False

    def _register(self, socket: zmq.Socket[bytes], handler: Callable[[], None]) -> None:
        self._poller.register(socket, zmq.POLLIN)
        self._handlers[socket] = handler

    def _unregister(self, socket: zmq.Socket[bytes]) -> None:
        self._poller.unregister(socket)
        del self._handlers[socket]

    # Membership and links

    def _apply_members(self, members: Mapping[str, str]) -> None:
        for engine_id in [i for i in self._links if members.get(i) != self._links[i].endpoint]:
            self._links.pop(engine_id).close()
            self._core.engine_lost(ReplicaId(engine_id), LossCause.REMOVED, time.monotonic())
        for engine_id in members.keys() - self._links.keys():
            link = self._links[engine_id] = Link(
                self._context, engine_id, members[engine_id], self._heartbeat,
                self._register, self._unregister, self._on_message, self._on_lost,
            )  # fmt: skip
            link.connect(self._id)

    def _on_lost(self, link: Link) -> None:
        self._drop(link, LossCause.DISCONNECTED)

    def _drop(self, link: Link, cause: LossCause) -> None:
        """Give up this connection; try again later, while Serve lists the engine."""
        link.close()
        link.retry_at_s = time.monotonic() + RECONNECT_AFTER_S
        self._core.engine_lost(ReplicaId(link.engine_id), cause, time.monotonic())

    def _on_message(self, link: Link, frames: Frames) -> None:
        try:
            self._handle(link, frames)
        except WireError as error:
            logger.error("engine %s sent a bad message, dropped: %s", link.engine_id, error)
            self._drop(link, LossCause.DISCONNECTED)

    def _handle(self, link: Link, frames: Frames) -> None:
        engine_id, kind = ReplicaId(link.engine_id), kind_of(frames)
        if kind is Kind.STEP:
            self._core.step(engine_id, self._outputs.decode(frames), time.monotonic())
        elif kind is Kind.LOAD:
            self._core.load(engine_id, unpack(frames, Load))
        elif kind is Kind.RESULT:
            self._core.result(engine_id, unpack(frames, Result))
        elif kind is Kind.READY:
            self._on_ready(link, unpack(frames, Ready))
        elif kind is Kind.BYE:
            self._on_bye(link, unpack(frames, Bye))
        else:
            raise WireError(f"{kind.name} is not for a switch")

    def _on_ready(self, link: Link, ready: Ready) -> None:
        if ready.version != WIRE_VERSION:
            raise WireError(f"wire version {ready.version}, this switch speaks {WIRE_VERSION}")
        link.ready = ready
        logger.info("engine %s ready at %s (pid %d)", link.engine_id, link.endpoint, ready.pid)
        self._core.engine_joined(ReplicaId(link.engine_id), ready, time.monotonic())
        if not self._ready.done():
            self._ready.set_result(ready)

    def _on_bye(self, link: Link, bye: Bye) -> None:
        logger.warning("engine %s leaves: %s", link.engine_id, bye.reason)
        self._drop(link, LossCause.CORE_DEAD if bye.core_dead else LossCause.REMOVED)

    # The API server's side

    def _connect_front(self) -> None:
        front_in = self._context.socket(zmq.DEALER)
        front_in.setsockopt(zmq.IDENTITY, FRONT_IDENTITY)
        front_in.setsockopt(zmq.RCVHWM, 0)
        front_in.connect(self.front.input)
        front_out = self._context.socket(zmq.PUSH)
        front_out.setsockopt(zmq.SNDHWM, 0)  # a step must never be dropped: it holds tokens
        front_out.connect(self.front.output)
        self._front_in, self._front_out = front_in, front_out
        self._register(front_in, self._receive_front)
        front_in.send(self._ready.result().core_ready)

    def _receive_front(self) -> None:
        assert self._front_in is not None
        while True:
            try:
                frames = self._front_in.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._from_front(frames)

    def _from_front(self, frames: Frames) -> None:
        kind = EngineCoreRequestType(bytes(buffer_of(frames[0])))
        if kind is EngineCoreRequestType.ADD:
            self._core.request(self._requests.decode(frames), time.monotonic())
        elif kind is EngineCoreRequestType.ABORT:
            self._core.abort(self._generic_decoder.decode(frames[1:]))
        elif kind is EngineCoreRequestType.UTILITY:
            _, call_id, method, args = self._generic_decoder.decode(frames[1:])
            self._core.utility(call_id, method, list(args), time.monotonic())
        else:
            logger.error("switch %s: the API server sent %s, ignored", self.name, kind)

    # Ports: what the core sends

    def add(self, engine_id: ReplicaId, request: EngineCoreRequest) -> None:
        self._send(engine_id, self._requests.encode(request))

    def abort(self, engine_id: ReplicaId, attempt_ids: list[str]) -> None:
        self._send(engine_id, pack(Kind.ABORT, Abort(attempt_ids)))

    def ask(self, engine_id: ReplicaId, call: Utility) -> None:
        self._send(engine_id, pack(Kind.UTILITY, call))

    def _send(self, engine_id: ReplicaId, frames: Frames) -> None:
        link = self._links.get(engine_id)
        if link is not None and not link.send(frames):
            life = link.life
            # Not from inside the core's own call: it may be half-way through this flight.
            self._post(lambda: self._drop_life(link, life))

    def _drop_life(self, link: Link, life: int) -> None:
        if link.life == life:
            self._drop(link, LossCause.DISCONNECTED)

    def outputs(self, outputs: EngineCoreOutputs) -> None:
        if self._front_out is not None:
            self._front_out.send_multipart(self._outputs.encode_bare(outputs), copy=False)

    def answer(self, result: Result) -> None:
        value = None if result.failure is not None else UtilityResult(result.value)
        utility = VllmUtilityOutput(result.call_id, failure_message=result.failure, result=value)
        self.outputs(EngineCoreOutputs(utility_output=utility))

    def _snapshot(self) -> dict[str, Any]:
        core = self._core
        return {
            "engines": [self._engine_row(link) for link in self._links.values()],
            "flights": {
                "active": len(core.flights),
                "moved": core.counters.moved,
                "failed": core.counters.failed,
            },
        }

    def _engine_row(self, link: Link) -> dict[str, Any]:
        engine, ready = self._core.engines.get(ReplicaId(link.engine_id)), link.ready
        return {
            "id": link.engine_id,
            "state": "ready" if engine is not None else "connecting",
            "node": ready.node if ready else None,
            "pid": ready.pid if ready else None,
            "endpoint": link.endpoint,
            "running": engine.load.running_requests if engine else 0,
            "waiting": engine.load.waiting_requests if engine else 0,
            "kv_use_frac": engine.load.kv_use_frac if engine else 0.0,
        }
