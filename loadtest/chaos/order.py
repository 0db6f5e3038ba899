"""What the master of a load test and the process that does the faults beside it say to each other.

One JSON object a line, on the process's standard input and output:

    in    an `Order`
    out   {"faults": [...]}, those that will be done; or {"refused": why}, and the process ends
    in    {"began_at_s": ...}: the load begins at this instant, in seconds of the epoch
    out   {"at_s", "kind", "what", "end_s"}: a mark of `loadtest/run_records.py`, for each fault

The end of its input ends the process, and a pause with it.
"""

import json
from dataclasses import asdict, dataclass

from loadtest.chaos.plan import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`faults` None: all that are done by signals and that the fleet is large enough for. They are
    `every_s` apart at least, and none is due after `duration_s`. `api_key`: an admin's."""

    url: str
    model: str
    faults: tuple[Fault, ...] | None
    every_s: float
    duration_s: float
    seed: int
    api_key: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def order_of(line: str | bytes) -> Order:
    fields = json.loads(line)
    faults = fields.pop("faults")
    return Order(faults=None if faults is None else tuple(map(Fault, faults)), **fields)
