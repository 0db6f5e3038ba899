"""An engine host's socket: one ROUTER, encrypted, heard and answered only by switches that know the
cluster's wire secret.

A stranger costs libzmq's I/O thread a handshake that fails; to this process's event loop it is at
most one look-up of its key (see `wire_security`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator

from serve_app.engine_address import EngineAddress
from serve_app.link import SEND_QUEUE_MESSAGES, Heartbeat
from serve_app.wire import Frames, buffer_of
from serve_app.wire_security import (
    ZAP_DOMAIN,
    KeyPair,
    KnownSwitches,
    secure_host,
)

FAREWELL_S = 0.2
"""How long a farewell may take to reach everyone."""


class HostSocket:
    """`bind` on a running loop. Lets in the switches whose public keys are `accepted`."""

    def __init__(self, heartbeat: Heartbeat, accepted: frozenset[bytes]) -> None:
        self._keys = KeyPair.fresh()
        self._context = zmq.asyncio.Context()
        self._authenticator = AsyncioAuthenticator(self._context)
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, KnownSwitches(accepted))
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an unreachable switch is an error
        self._socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
        self._socket.setsockopt(zmq.LINGER, 0)  # see `farewell`
        heartbeat.apply(self._socket)
        secure_host(self._socket, self._keys)

    def bind(self, address: str, ports: tuple[int, int] | None = None) -> EngineAddress:
        """Listen at `address` on a port of `ports`, both ends included, or on any free one.

        Raises zmq.ZMQError where no port is free.
        """
        self._authenticator.start()
        host = f"[{address}]" if ":" in address else address
        if ":" in address:
            self._socket.setsockopt(zmq.IPV6, 1)
        if ports is None:
            self._socket.bind(f"tcp://{host}:*")
        else:
            low, high = ports
            self._socket.bind_to_random_port(f"tcp://{host}", low, high + 1)
        endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        return EngineAddress(endpoint, self._keys.public.decode())

    async def receive(self) -> tuple[bytes, Frames]:
        """The next message, and the identity of the switch that sent it."""
        identity, *frames = await self._socket.recv_multipart(copy=False)
        return bytes(buffer_of(identity)), frames

    async def send(self, switch: bytes, frames: Frames) -> None:
        """Queue a message. Raises zmq.ZMQError: EHOSTUNREACH where the switch is not connected,
        EAGAIN where it does not read."""
        await self._socket.send_multipart([switch, *frames], zmq.NOBLOCK, copy=False)

    async def farewell(self, switches: Iterable[bytes], frames: Frames) -> None:
        """Send the last message; wait until those who got it have hung up, `FAREWELL_S` at most.

        Were this end closed first, with something of theirs still on its way, the kernel would
        answer that with a reset, which throws away what they have not read.
        """
        hung_up = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        sent = 0
        for switch in switches:
            with contextlib.suppress(zmq.ZMQError):
                await self.send(switch, frames)
                sent += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                for _ in range(sent):
                    await hung_up.recv_multipart()
        self._socket.disable_monitor()
        hung_up.close()

    def close(self) -> None:
        """Close at once. Closing twice is fine."""
        self._authenticator.stop()
        self._context.destroy(0)  # the sockets, and the I/O thread with them
