"""A pool of connections that say when a request was written to them.

`requests` tells neither whether it had to connect first nor when it sent. Here a connection notes
the instant at which it is open and the request goes out: connecting is no part of a TTFT. It also
keeps the standard library's response, because urllib3's own `read1` doubles what Python does for a
chunk (5 us of 25).
"""

import http.client
from collections.abc import Callable
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Connection(HTTPConnection):
    sent_at_s: float | None = None  # on the monotonic clock; of the latest request
    received: http.client.HTTPResponse | None = None  # the latest

    # A method where the standard library has a class: it only calls it, on the connection.
    def response_class(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> http.client.HTTPResponse:
        self.received = http.client.HTTPResponse(*args, **options)
        return self.received

    def endheaders(self, *args: Any, **options: Any) -> None:
        """Headers and body go out with this call."""
        if self.sock is None:
            self.connect()
        self.sent_at_s = monotonic()
        super().endheaders(*args, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def pool_of(connections: int) -> PoolManager:
    """Keeps up to `connections` open between requests. Safe to share between greenlets."""
    pool = PoolManager(num_pools=2, maxsize=connections, block=False)
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return pool


def sent_at_s(response: HTTPResponse) -> float | None:
    """When the request of a response that is not yet read to its end was sent."""
    return getattr(response.connection, "sent_at_s", None)


def read1_of(response: HTTPResponse) -> Callable[[int], bytes]:
    """Reads what one read of the socket brings, or one chunk of it; empty at the end. The caller
    then calls `release_conn`. Of a body that is not chunked, urllib3 has to count the bytes."""
    received = getattr(response.connection, "received", None)
    return received.read1 if received is not None and received.chunked else response.read1
