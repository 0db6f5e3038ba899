"""The rows of a chaos test's JSONL file, one JSON object a line, told apart by `row`.

    run      first: what was asked for
    fault    one fault that was done, or missed
    request  one request that ended
    end      last: what was left when it was over

All instants are seconds since the load began. `report` needs nothing else.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.chaos.processes import Growth


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    started_at: str  # wall clock, ISO 8601, for humans
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    at_s: float
    fault: str
    what: str
    missed: bool = False  # the victim was gone before


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """`error`: why there is no answer. `wrong`: how the answer differs from the truth."""

    kind: str
    began_s: float
    ended_s: float
    error: str | None = None
    wrong: str | None = None
    cut: bool = False
    longest_gap_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRow:
    """`whole_after_s` is None where the fleet did not become whole again."""

    duration_s: float
    moved: int
    failed_flights: int
    whole_after_s: float | None
    leaked_flights: int
    orphans: list[str]
    memory: dict[str, Growth] = field(default_factory=dict)


Row = RunRow | FaultRow | RequestRow | EndRow
NAMES: dict[type[Row], str] = {
    RunRow: "run",
    FaultRow: "fault",
    RequestRow: "request",
    EndRow: "end",
}


def to_json(row: Row) -> str:
    fields = {"row": NAMES[type(row)], **asdict(row)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def row_file(path: Path | None) -> Iterator[Callable[[Row], None]]:
    """Writes rows to a new file, each at once: a test that is cut short leaves what it has."""
    if path is None:
        yield lambda _: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        yield lambda row: print(to_json(row), file=file, flush=True)
