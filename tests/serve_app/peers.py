"""Who may come to an engine host's port: a peer with keys of its own choice, and plain TCP."""

from __future__ import annotations

import contextlib
import socket
import time
from types import TracebackType
from typing import Any, Self

import zmq
from zmq.utils.monitor import recv_monitor_message

from serve_app.engine_address import EngineAddress
from serve_app.wire import (
    WIRE_VERSION,
    Bye,
    Frames,
    Hello,
    Kind,
    Load,
    Result,
    Utility,
    pack,
    unpack,
)
from serve_app.wire_security import (
    LOST_EVENTS,
    KeyPair,
    handshake_failure,
    secure_switch,
)

DEADLINE_S = 10.0


class Peer:
    """A DEALER that shows `keys` (None: no CURVE), with what its socket's monitor says."""

    def __init__(self, address: EngineAddress, keys: KeyPair | None) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._socket.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            secure_switch(self._socket, keys, address.public_key)
        self._monitor = self._socket.get_monitor_socket(LOST_EVENTS)
        self._socket.connect(address.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._context.destroy(linger=0)

    def send(self, frames: Frames) -> None:
        """Send, unless it is refused or dropped already."""
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(frames, zmq.NOBLOCK)

    def hello(self) -> None:
        """Introduce itself, and wait until the host has let it in."""
        self.send(pack(Kind.HELLO, Hello(WIRE_VERSION, "peer")))
        self.receive(Kind.READY)

    def receive(self, *kinds: Kind) -> list[bytes]:
        """The next message of one of these kinds."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            assert time.monotonic() < deadline_s, f"no {kinds}"
            assert self._socket.poll(DEADLINE_S * 1000), f"nothing came in {DEADLINE_S} s"
            frames = self._socket.recv_multipart()
            if Kind(frames[0]) in kinds:
                return frames

    def load(self) -> Load:
        """The host's next load report."""
        return unpack(self.receive(Kind.LOAD), Load)

    def call(self, call_id: int, method: str = "get_supported_tasks") -> Any:
        """A utility call: its answer, or None where the host said goodbye instead."""
        self.send(pack(Kind.UTILITY, Utility(call_id, method, [])))
        while True:
            frames = self.receive(Kind.RESULT, Kind.BYE)
            if Kind(frames[0]) is Kind.BYE:
                return None
            result = unpack(frames, Result)
            if result.call_id == call_id:
                return result.value

    def farewell(self) -> str:
        """Why the host says goodbye."""
        return unpack(self.receive(Kind.BYE), Bye).reason

    def refusal(self) -> str | None:
        """Wait for the end of the connection: why the handshake failed, None where it had not."""
        assert self._monitor.poll(DEADLINE_S * 1000), "it is still connected"
        event = recv_monitor_message(self._monitor)
        return handshake_failure(event["event"], event["value"])

    def heard_nothing(self) -> bool:
        return not self._socket.poll(0)


def said_to(endpoint: str, *words: bytes) -> bytes:
    """What a host answers to these bytes, one after the other, until it hangs up."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    heard = b""
    with socket.create_connection((host, int(port)), DEADLINE_S) as tcp:
        try:
            for word in words:
                tcp.sendall(word)
            while part := tcp.recv(4096):
                heard += part
        except ConnectionError:
            pass  # it hung up on what was still on its way
    return heard
