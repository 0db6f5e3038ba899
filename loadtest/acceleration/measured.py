"""What is known of a variant, kept in its folder: a comparison that was cut short goes on there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.acceleration.quality import Matches, Position, Quality, Reading

FILE, READINGS = "measured.json", "readings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Under the scenario's load. `requests`: that were measured. Latencies are medians."""

    requests: int
    failed: int
    ttft_s: float
    tpot_s: float
    output_tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`work`: a digest of all that decides the rest. `start_s`: from the launch until the engine
    answers. `memory_bytes`: what the processes of one engine have for themselves, a GPU's left out.
    `failure`: why there is nothing else."""

    variant: str
    source: str
    engine: dict[str, Any]
    work: str = ""
    failure: str = ""
    weight_bytes: int = 0
    start_s: float = 0.0
    memory_bytes: int = 0
    kv_tokens: int = 0
    speed: Speed | None = None
    quality: Quality | None = None


def write(folder: Path, measured: Measured, readings: list[Reading]) -> None:
    """The readings first: where there is a result, there is all of it."""
    told = [[[each.logprob, dict(each.top)] for each in reading] for reading in readings]
    (folder / READINGS).write_text(json.dumps(told))
    (folder / FILE).write_text(json.dumps(asdict(measured), indent=2) + "\n")


def read(folder: Path, wanted: Measured) -> tuple[Measured, list[Reading]] | None:
    """None where it was not measured, or was something else than is `wanted` now."""
    try:
        told = json.loads((folder / FILE).read_text())
        heard = json.loads((folder / READINGS).read_text())
    except (OSError, ValueError):
        return None
    if (told.get("work"), told["failure"]) != (wanted.work, ""):
        return None
    speed, quality = told.pop("speed"), told.pop("quality")
    matches = {task: Matches(**found) for task, found in quality.pop("matches").items()}
    found = Measured(**told, speed=Speed(**speed), quality=Quality(matches=matches, **quality))
    return found, [[_position(*each) for each in reading] for reading in heard]


def _position(logprob: float, top: dict[str, float]) -> Position:
    return Position(logprob, {int(token): value for token, value in top.items()})
