"""What one worker has to report: the records of requests that ended, and the counts."""

from typing import Any

from loadtest.run_records import RequestRecord, to_json
from loadtest.runtime.live import Tally
from loadtest.runtime.reading import Read


class Ledger:
    """Requests of the warm-up before the start have records, and count for nothing."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._tally = Tally()

    def sent(self) -> None:
        self._tally.offered += 1

    def ended(self, read: Read) -> None:
        self._lines.append(read.line)
        self._tally.ended(read.record.sample)
        self._tally.judge(read.good)

    def missed(self, record: RequestRecord, good: bool | None) -> None:
        self._lines.append(to_json(record))
        self._tally.offered += 1
        self._tally.missed += 1
        self._tally.judge(good)

    def warmed_up(self, read: Read) -> None:
        self._lines.append(read.line)

    def take(self) -> dict[str, Any]:
        """Everything since the call before, as a message to the master."""
        lines, tally = self._lines, self._tally
        self._lines, self._tally = [], Tally()
        return {"lines": lines, "tally": tally.to_message()}
