"""A pool of connections that say when a request was written to them.

`requests` tells neither whether it had to connect first nor when it sent. Here a connection notes
the instant at which it is open and the request goes out: connecting is no part of a TTFT.
"""

from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Connection(HTTPConnection):
    sent_at_s: float | None = None  # on the monotonic clock; of the latest request

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
