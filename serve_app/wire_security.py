"""Who may speak on the wire, and how large: ZMQ CURVE keys and limits. No secrets are found here.

An engine host makes a key pair at its start; the secret half never leaves it, the public half is
told beside its endpoint (`EngineAddress`). All switches of a cluster have one key pair, derived
from the cluster's wire secret. So a switch knows that it talks to that host, and a host that it
talks to a switch of its cluster; everything after the handshake is encrypted under session keys.

    stranger                  what it meets
    any other mechanism       dropped by libzmq at the greeting: older ZMTP, NULL, no ZMQ at all
    without the host's key    dropped by libzmq at its first box, unread by Python
    without the secret        one look-up of its key, then dropped: never a peer of the socket

A host lets in every secret it was given and a switch shows only the first, so a secret is changed
by rolling upgrades, gateways and engines in any order: from `old` to `old,new`, to `new,old`, to
`new`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

import zmq
from zmq.utils import z85

from serve_app.wire import MAX_FRAME_BYTES

ZAP_DOMAIN = "tokenfleet"

HANDSHAKE_TIMEOUT_S = 5.0
"""How long a connection may take to prove itself. It takes milliseconds; a stranger holds a socket
and the bytes it sent no longer than this."""

_KEY_BYTES = 32  # of Curve25519
_SWITCH_LABEL = b"tokenfleet/wire"  # other keys made of the same secret would have another


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Curve25519 key pair, both halves in z85 (40 characters)."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Self:
        """A new random pair."""
        return cls(*zmq.curve_keypair())

    @classmethod
    def of_secret(cls, wire_secret: str) -> Self:
        """The pair of every switch that knows `wire_secret`."""
        digest = blake2b(wire_secret.encode(), digest_size=_KEY_BYTES, person=_SWITCH_LABEL)
        secret = z85.encode(digest.digest())
        return cls(zmq.curve_public(secret), secret)


@dataclass(frozen=True, slots=True)
class WireKeys:
    """What a process needs of the cluster's wire secrets: a switch its `own` key pair, a host the
    public keys (z85) that it lets in."""

    own: KeyPair
    accepted: frozenset[bytes]

    @classmethod
    def of(cls, wire_secrets: Sequence[str]) -> Self:
        """Of at least one secret: the first is shown, all are let in."""
        pairs = [KeyPair.of_secret(secret) for secret in wire_secrets]
        return cls(pairs[0], frozenset(pair.public for pair in pairs))


class KnownSwitches:
    """pyzmq's credentials provider: lets in the keys of `WireKeys.accepted`."""

    def __init__(self, accepted: frozenset[bytes]) -> None:
        self._accepted = accepted

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the owner of `key` (proved by the handshake) may speak."""
        return key in self._accepted


def secure_host(socket: zmq.Socket[Any], keys: KeyPair) -> None:
    """Have a host's socket, not bound yet, talk only to peers that its context's authenticator
    lets in; to nobody where there is none."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt_string(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    # Without it libzmq takes a context that has no authenticator for one that lets in everybody.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    _limit(socket)


def secure_switch(socket: zmq.Socket[Any], keys: KeyPair, host_key: str) -> None:
    """Have a switch's socket, not connected yet, talk only to the host that owns `host_key`."""
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt_string(zmq.CURVE_SERVERKEY, host_key)
    _limit(socket)


def _limit(socket: zmq.Socket[Any]) -> None:
    socket.setsockopt(zmq.HANDSHAKE_IVL, round(HANDSHAKE_TIMEOUT_S * 1000))
    # Twice what is allowed: libzmq drops the connection without a word, which saves the memory but
    # cannot be counted; what is only somewhat too large is refused by `wire.kind_of`, and is.
    socket.setsockopt(zmq.MAXMSGSIZE, 2 * MAX_FRAME_BYTES)


_FAILED_HANDSHAKES = (
    zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
)
LOST_EVENTS = zmq.Event.DISCONNECTED | zmq.Event.CLOSED | _FAILED_HANDSHAKES
"""What a socket's monitor says when its connection ended, or never came to be."""


def handshake_failure(event: int, value: int) -> str | None:
    """Why a host and a switch did not come together, of a monitor event; None of any other."""
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return f"the engine does not accept this gateway's wire secret (status {value})"
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
        return f"what answers there does not speak CURVE (libzmq's protocol error {value:#x})"
    if event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
        return f"it hung up, as where keys do not match, or took too long ({_errno_name(value)})"
    return None


def _errno_name(value: int) -> str:
    return f"{errno.errorcode.get(value, value)}: {os.strerror(value)}"
