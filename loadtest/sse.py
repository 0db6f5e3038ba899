"""Server-sent events, sans I/O: bytes in, the `data` of each completed event out.

Follows the WHATWG event-stream rules that matter to a completion stream: lines end in LF, CR or
CRLF (a CRLF may be split between two reads), lines that start with `:` are comments (keep-alives),
several `data` lines of one event are joined by LF, other fields are ignored, and an event ends at
a blank line. An event that the stream leaves unfinished is never reported.
"""


class SSEParser:
    """Feed it whatever the socket gives; it keeps the unfinished rest."""

    __slots__ = ("_data", "_skip_lf", "_tail")

    def __init__(self) -> None:
        self._tail = b""  # the unfinished last line
        self._data: list[bytes] = []  # data lines of the unfinished event
        self._skip_lf = False  # the last read ended in CR: a LF that follows belongs to it

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that `chunk` completes, in order."""
        if self._is_one_event(chunk):
            return [chunk[6:-2]]
        return [data for line in self._lines(chunk) if (data := self._take(line)) is not None]

    def _is_one_event(self, chunk: bytes) -> bool:
        """The common case, worth a shortcut: vLLM writes one `data: {...}` event per chunk."""
        return (
            not (self._tail or self._data or self._skip_lf)
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n") == len(chunk) - 2
            and b"\r" not in chunk
        )

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        text = self._tail + chunk
        lines = text.splitlines()
        complete = text.endswith((b"\n", b"\r"))
        self._tail = b"" if complete or not lines else lines.pop()
        self._skip_lf = self._skip_lf or text.endswith(b"\r")
        return lines

    def _take(self, line: bytes) -> bytes | None:
        """The event's data where `line` is the blank line that ends one."""
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        data, self._data = self._data, []
        return b"\n".join(data) if data else None
