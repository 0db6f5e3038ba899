"""A model's fingerprint: equal for engines whose outputs may continue each other's streams.

Covers what decides the next token: the weights, and how they are held (dtype, quantization). Engine
arguments that only decide where and how fast are left out, so an upgrade that changes those can
still take streams over. Weights are recognised without reading them whole: names, sizes and both
ends of each file (a safetensors file starts with its tensor index).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vllm.config import ModelConfig, VllmConfig

_EDGE_BYTES = 1 << 16
_ORIGIN = ("_name_or_path", "transformers_version")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".gguf")


def fingerprint(config: VllmConfig) -> str:
    """16 hex digits for the model an engine of this configuration serves.

    For a hub id the resolved revision stands for the files. Raises OSError for unreadable weights.
    """
    model = config.model_config
    digest = hashlib.sha256()
    for part in (model.dtype, model.quantization, model.seed, config.load_config.load_format):
        digest.update(repr(part).encode() + b"\0")
    shape = _without_origin(model.hf_config.to_dict())
    digest.update(json.dumps(shape, sort_keys=True, default=str).encode())
    _add_weights(digest, model)
    return digest.hexdigest()[:16]


def _without_origin(config: Any) -> Any:
    """A model's config, and those nested in it, without where and by what it was read: folders
    differ among nodes, and library releases during an upgrade."""
    if isinstance(config, dict):
        kept = {str(key): value for key, value in config.items() if key not in _ORIGIN}
        return {key: _without_origin(value) for key, value in kept.items()}
    return config


def _add_weights(digest: hashlib._Hash, model: ModelConfig) -> None:
    folder = Path(model.model)
    if not folder.is_dir():
        revision = getattr(model.hf_config, "_commit_hash", None) or model.revision
        digest.update(f"{model.model}@{revision}".encode())
        return
    for file in sorted(folder.iterdir()):
        if file.suffix in _WEIGHT_SUFFIXES:
            digest.update(f"{file.name} {file.stat().st_size}".encode())
            digest.update(_edges(file))


def _edges(file: Path) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(_EDGE_BYTES)
        stream.seek(max(file.stat().st_size - _EDGE_BYTES, 0))
        return head + stream.read(_EDGE_BYTES)
