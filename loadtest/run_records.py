"""The files of a run's folder, and one line of `requests.jsonl`.

    config.json       the scenario as resolved (seed and all defaults), target, model, command
    environment.json  versions, machine, time of day
    requests.jsonl    one `RequestRecord` a line, in the order in which the requests ended
    server.jsonl      the server's own metrics over the run: {"at_s": …, "metrics": {name: value}}
    marks.jsonl       what was done to the server: {"at_s": …, "kind": "kill-host",
                      "what": "host 7 of engine a"}, and "end_s" of what lasted
    summary.json      what `report.html` and `gate` say, versioned
    report.html       one file, opens offline

Instants are seconds since the load began, on the clock of the process that sent the request; the
run's wall-clock start is in `environment.json`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from loadtest.metrics import RequestSample

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
REQUESTS = "requests.jsonl"
SERVER = "server.jsonl"
MARKS = "marks.jsonl"
SUMMARY = "summary.json"
REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request. A session's turns have its index and their own `turn`.

    `warm_up` requests were sent before the measured window and count for nothing. `missed` was due
    while as many requests as allowed were in flight: it was never sent, its sample has an `error`,
    and it counts as offered. `right` says whether the answer was the expected one, None where there
    is none to compare with.
    """

    session: int
    turn: int
    kind: str
    sample: RequestSample
    worker: int = 0
    tenant: str | None = None
    warm_up: bool = False
    missed: bool = False
    right: bool | None = None
    planned_prompt_tokens: int | None = None


def measured(records: Iterable[RequestRecord]) -> list[RequestRecord]:
    """All but the warm-up: the offered requests, missed ones too."""
    return [record for record in records if not record.warm_up]


def to_json(record: RequestRecord) -> str:
    return json.dumps(asdict(record), separators=(",", ":"))


def from_json(line: str) -> RequestRecord:
    """Raises KeyError, TypeError or ValueError for a line that `to_json` did not write."""
    fields = json.loads(line)
    sample = fields.pop("sample")
    sample["itl_us"] = tuple(sample["itl_us"])
    return RequestRecord(sample=RequestSample(**sample), **fields)


def read_records(lines: Iterable[str]) -> Iterator[RequestRecord]:
    return (from_json(line) for line in lines if line.strip())
