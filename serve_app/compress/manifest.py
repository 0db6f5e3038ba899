"""What a compressed model was made of, in its folder beside the weights (`tokenfleet.json`)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "tokenfleet.json"
WEIGHTS = "*.safetensors"
CHUNK_BYTES = 1 << 24


class Made(BaseModel):
    """What decides the result. Two equal ones give the same folder, up to the machine's floats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    seed: int
    samples: int
    max_seq_tokens: int
    source_digest: str
    calibration_digest: str
    compressor: str


class Manifest(BaseModel):
    """`zero_frac`: of the weights of the layers that were compressed. `kept`: names of linear
    layers that were left as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made: Made
    source: str
    bytes_before: int
    bytes_after: int
    zero_frac: float
    kept: tuple[str, ...]
    took_s: float

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(self.model_dump(), indent=2) + "\n")


def read(folder: Path) -> Manifest | None:
    """None where there is none, or none that this version wrote."""
    try:
        return Manifest.model_validate_json((folder / FILE).read_text())
    except (OSError, ValidationError):
        return None


def digest(folder: Path) -> str:
    """Of a model's weights, shape and tokenizer."""
    found = hashlib.sha256()
    for path in sorted({*folder.glob(WEIGHTS), *folder.glob("*.json"), *folder.glob("*.jinja")}):
        found.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                found.update(chunk)
    return found.hexdigest()


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(WEIGHTS))


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
