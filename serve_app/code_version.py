"""What makes a replica new: the code it runs and the arguments it gets. Nothing else replaces it.

Serve takes every `serve run` for new code and replaces all replicas, also where only their number
changed, and has no public option to say otherwise. `Deployment._version` says so; its use is
pinned by `tests/serve_app/test_code_version.py`, written against Ray 2.60.0.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from ray.serve import Deployment

from serve_app import settings

CODE = ("cluster", "serve_app")


def versioned(deployment: Deployment, *arguments: Any) -> Deployment:
    """`deployment`, whose replicas a later deploy replaces only where their code, or `arguments`
    (plain values: their constructor's), or what Serve itself compares (actor options) changed."""
    given = json.dumps(arguments, sort_keys=True)  # the order of keys in a file means nothing
    deployment._version = sha256(f"{_code()} {given}".encode()).hexdigest()[:16]
    return deployment


@cache
def _code() -> str:
    """A digest of this package's source and of vLLM's version."""
    root = Path(__file__).parents[1]
    digest = sha256(settings.vllm_version().encode())
    for path in sorted(path for package in CODE for path in (root / package).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
