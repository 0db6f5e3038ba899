"""One switch's connection to one engine host: a socket, its monitor, and when to try again.

A connection has one life: when it is lost the link drops the socket, so that nothing of the old
life (queued requests, late steps) can leak into the next, which has a new identity. It is
encrypted, and made only with the host that owns the key of its address (`wire_security`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from cluster.lifecycle import ENGINE, EngineEvent, EngineState
from serve_app.engine_address import EngineAddress
from serve_app.reactor import Reactor
from serve_app.wire import WIRE_VERSION, Frames, Hello, Kind, Ready, WireError, pack
from serve_app.wire_security import (
    LOST_EVENTS,
    KeyPair,
    handshake_failure,
    secure_switch,
)

logger = logging.getLogger("tokenfleet.switch")

RECONNECT_AFTER_S = 0.25
"""Between tries to reach an engine that Serve still lists: the network may have come back."""

REFUSED_AGAIN_AFTER_S = 2.0
"""The same after a handshake that failed: keys do not change in a moment."""

SEND_QUEUE_MESSAGES = 10_000
"""More than this unsent to one engine means it is not reading: its link is dropped."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """ZMQ's own heartbeat, answered by the peer's I/O thread even while its Python is busy."""

    interval_s: float
    timeout_s: float

    def apply(self, socket: zmq.Socket[Any]) -> None:
        """Set it on a socket that is not connected yet."""
        socket.setsockopt(zmq.HEARTBEAT_IVL, round(self.interval_s * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(self.timeout_s * 1000))
        socket.setsockopt(zmq.HEARTBEAT_TTL, round(self.timeout_s * 1000))


class Link:
    """`engine_id` at `address`; `ready` once the host said so, `retry_at_s` while it is down.

    `refusal`: why the last handshake failed, if it did. `bad_messages`: from the host, so far.
    """

    def __init__(
        self,
        reactor: Reactor,
        engine_id: str,
        address: EngineAddress,
        keys: KeyPair,
        heartbeat: Heartbeat,
        on_message: Callable[[Link, Frames], None],
        on_lost: Callable[[Link], None],
    ) -> None:
        self.engine_id, self.address = engine_id, address
        self.state = EngineState.CONNECTING
        self.ready: Ready | None = None
        self.life = 0  # counts connections
        self.retry_at_s = 0.0
        self.refusal: str | None = None
        self.bad_messages = 0
        self._reactor, self._keys, self._heartbeat = reactor, keys, heartbeat
        self._on_message, self._on_lost = on_message, on_lost
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None

    def advance(self, event: EngineEvent) -> EngineState:
        """Go on in `cluster.lifecycle`'s table, and return where that leads.

        Raises WireError where the host says what it may not say now.
        """
        following = ENGINE.get(self.state, {})
        if event not in following:
            raise WireError(f"{event.value} from an engine that is {self.state.value}")
        self.state = following[event]
        return self.state

    def connect(self, switch_id: str) -> None:
        """Open a new connection and say hello."""
        self.life += 1
        socket = self._reactor.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, uuid.uuid4().bytes)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, 0)  # a step must never be dropped: it holds tokens
        socket.setsockopt(zmq.RECONNECT_IVL, -1)  # reconnecting is ours: see the module docstring
        self._heartbeat.apply(socket)
        secure_switch(socket, self._keys, self.address.public_key)
        self._monitor = socket.get_monitor_socket(LOST_EVENTS)
        socket.connect(self.address.endpoint)
        self._socket = socket
        self._reactor.register(socket, self._receive)
        self._reactor.register(self._monitor, self._watch)
        self.send(pack(Kind.HELLO, Hello(WIRE_VERSION, switch_id)))

    @property
    def retry_after_s(self) -> float:
        """How long to wait before the next try, once this connection is lost."""
        return RECONNECT_AFTER_S if self.refusal is None else REFUSED_AGAIN_AFTER_S

    def send(self, frames: Frames) -> bool:
        """Queue a message; False where the link is down or the host does not read."""
        if self._socket is None:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Drop the connection without telling anyone."""
        self.ready = None
        for socket in (self._socket, self._monitor):
            if socket is not None:
                self._reactor.unregister(socket)
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
        self._socket = self._monitor = None

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._on_message(self, frames)

    def _watch(self) -> None:
        assert self._monitor is not None
        event = recv_monitor_message(self._monitor)
        self._note_refusal(handshake_failure(event["event"], event["value"]))
        # Tokens that arrived before the end are good: take them before giving the engine up.
        self._receive()
        self._on_lost(self)

    def _note_refusal(self, refusal: str | None) -> None:
        """Say why a handshake failed: once, however often it is tried again."""
        if refusal is not None and refusal != self.refusal:
            logger.warning(
                "engine %s at %s: the handshake failed: %s; it is tried again every %g s",
                self.engine_id, self.address.endpoint, refusal, REFUSED_AGAIN_AFTER_S,
            )  # fmt: skip
        self.refusal = refusal
