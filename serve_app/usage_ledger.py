"""The ledger's files: one line for each request that is over, written by a thread of its own.

Every gateway process has its own file, so no line is ever mixed with another's: `usage-ID.jsonl`,
where ID is the replica's, and when that is full `usage-ID.jsonl.1`, the newest, and so on. Lines of
the last moment are lost where a gateway is killed.
"""

from __future__ import annotations

import logging
from logging.handlers import QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cluster.admission import ledger
from cluster.admission.ledger import LedgerRecord
from serve_app.served_request import Outcome, ServedRequest

logger = logging.getLogger("tokenfleet.gateway")

_OUTCOMES: dict[Outcome, ledger.Outcome] = {
    "served": "answered",
    "cancelled": "cancelled",
    "failed": "failed",
    "refused": "refused",
}


class UsageLedger:
    """Opened from construction to `close`. Raises OSError where the folder cannot be written."""

    def __init__(self, folder: Path, gateway: str, *, max_bytes: int, files: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"usage-{gateway}.jsonl"
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._file = _File(self.path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")
        self._listener = QueueListener(self._queue, self._file)
        self._listener.start()

    def write(self, served: ServedRequest) -> None:
        """Returns at once."""
        self._queue.put(logging.makeLogRecord({"msg": _record(served).line()}))

    def close(self) -> None:
        """Write what is left."""
        self._listener.stop()
        self._file.close()


def _record(served: ServedRequest) -> LedgerRecord:
    return LedgerRecord(
        at=round(served.at_unix_s, 3),
        id=served.request_id,
        tenant=served.tenant,
        model=served.model,
        outcome=_OUTCOMES[served.outcome],
        usage=served.usage,
        reason=served.reason,
        waited_s=served.waited_s,
    )


class _File(RotatingFileHandler):
    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:
        """A line could not be written. Said the first time, the tenth, the hundredth ..."""
        self.lost += 1
        if str(self.lost).strip("0") == "1":
            logger.exception("%d lines of the usage ledger are lost", self.lost)
