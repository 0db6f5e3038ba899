"""The rows of a benchmark's JSONL file, one JSON object a line, told apart by `kind`.

    run      first line: what was run, where, with which settings
    idle     CPU of one side's server while nothing was asked of it
    cell     CPU of one (pair, streams, side) over its measured window
    request  one measured request of a cell; `sample` is `loadtest.metrics.RequestSample`
    start    a server of the peers benchmark was started
    kill     an engine of one side was killed while streams ran
    during   one request of such a run

`loadtest/bench/report.py` needs nothing else to write its tables, nor does
`loadtest/bench/peers/report.py`, which the last three kinds are for.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from loadtest.metrics import RequestSample

Side = str
SIDES: tuple[Side, Side] = ("bare", "fleet")
"""Of the overhead benchmark; the peers benchmark has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    started_at: str  # wall clock, ISO 8601, for humans
    command: str
    labels: dict[str, str]  # side -> what the report calls it
    settings: dict[str, Any]
    machine: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRow:
    side: Side
    window_s: float
    cpu_s: dict[str, float]  # by role
    placement: list[str]  # of the processes that run the model


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow:
    pair: int
    streams: int
    side: Side
    window_s: float
    cpu_s: dict[str, float]  # by role: the server's, `load client` and `rest of the machine`


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    pair: int
    streams: int
    side: Side
    index: int  # the same index has the same prompt on both sides of a pair
    sample: RequestSample


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRow:
    side: Side
    pair: int | None  # None before the run with a kill
    engines: int
    ready_s: float  # from its start to its first answer


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRow:
    """Instants are seconds after the first request."""

    side: Side
    streams: int
    engines: int
    killed: str  # title of the process that was killed
    killed_at_s: float
    last_sent_s: float  # no request was sent later


@dataclass(frozen=True, slots=True, kw_only=True)
class DuringRow:
    side: Side
    sample: RequestSample  # its instants are seconds after the first request
    ended_s: float


Row = RunRow | IdleRow | CellRow | RequestRow | StartRow | KillRow | DuringRow
KINDS: dict[str, type[Row]] = {
    "run": RunRow,
    "idle": IdleRow,
    "cell": CellRow,
    "request": RequestRow,
    "start": StartRow,
    "kill": KillRow,
    "during": DuringRow,
}
KIND_OF = {row_type: kind for kind, row_type in KINDS.items()}


def to_json(row: Row) -> str:
    return json.dumps({"kind": KIND_OF[type(row)], **asdict(row)}, separators=(",", ":"))


def from_json(line: str) -> Row:
    """Raises KeyError or TypeError for a line that `to_json` did not write."""
    fields = json.loads(line)
    row_type = KINDS[fields.pop("kind")]
    if "sample" in fields:
        fields["sample"]["itl_us"] = tuple(fields["sample"]["itl_us"])
        fields["sample"] = RequestSample(**fields["sample"])
    return row_type(**fields)


def read_rows(lines: Iterable[str]) -> Iterator[Row]:
    return (from_json(line) for line in lines if line.strip())


@contextmanager
def row_file(path: str | None) -> Iterator[Callable[[Row], None]]:
    """Writes rows to a new JSONL file, gzipped where the name ends in `.gz`; nowhere for None."""
    if path is None:
        yield lambda _: None
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open_text(path, "wt") as file:
        yield lambda row: print(
            to_json(row), file=file, flush=not isinstance(row, RequestRow | DuringRow)
        )


def open_text(path: str, mode: Literal["rt", "wt"]) -> TextIO:
    """A result file, gzipped or not."""
    opened = gzip.open if path.endswith(".gz") else open
    return cast(TextIO, opened(path, mode, encoding="utf-8"))
