"""Whose key it is that a client shows.

A key is 256 random bits, so its plain SHA-256 is all the protection that a stolen file of hashes
needs: there is no dictionary of likely keys to try, and 2^255 tries are as far out of reach with a
fast hash as with a slow one. A slow hash (bcrypt, argon2) guards what people choose; here it would
cost every request milliseconds, and give whoever sends wrong keys a way to keep gateways busy.

Every lookup compares with all hashes, each in constant time, and branches on none of the results:
how long it takes tells neither which of them was right nor whether one was.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

from cluster.admission.tenants import OPEN, Tenant


def key_hash(key: str) -> str:
    """What the spec has of a key: its SHA-256, 64 hex digits."""
    return sha256(key.encode("utf-8", "backslashreplace")).hexdigest()


class Keyring:
    """The keys of `tenants`, whose hashes are unique. Without tenants everyone is `OPEN`."""

    def __init__(self, tenants: Sequence[Tenant]) -> None:
        self.is_open = not tenants
        self._hashes = [text.encode() for tenant in tenants for text in tenant.key_hashes]
        self._owners: list[Tenant | None] = [None]
        self._owners += [tenant for tenant in tenants for _ in tenant.key_hashes]

    def find(self, key: str | None) -> Tenant | None:
        """Whose key it is; None for an unknown one, a revoked one and no key alike."""
        if self.is_open:
            return OPEN
        if not key:
            return None
        shown = key_hash(key).encode()
        owner = 0
        for place, known in enumerate(self._hashes, start=1):
            owner += place * hmac.compare_digest(shown, known)
        return self._owners[owner]
