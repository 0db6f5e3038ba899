"""How long an engine of each deployment took to start, kept in the cluster's store.

What a held request is told to wait (`Retry-After`), and what a scaler that is new begins with. Each
engine overwrites the key `engine_start/app/deployment`: only the last one's word counts.
"""

from __future__ import annotations

import asyncio
import logging
import time

import msgspec
import psutil
from ray import serve

from serve_app import cluster_store

logger = logging.getLogger("tokenfleet.engine")

STORE_WITHIN_S = 5.0
"""What a start waits for the store to take note."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """From the process's begin until requests were served, waits after early deaths left out."""

    start_s: float


class StartClock:
    """Where the time of this process's start goes: parts, each from the end of the one before."""

    def __init__(self) -> None:
        self._at_s = psutil.Process().create_time()
        self._parts: dict[str, float] = {}

    def part(self, name: str) -> None:
        """It is over."""
        self._parts[name] = self._since_last_s()

    def waited(self) -> None:
        """What has passed since the last part was a wait on purpose, and is none of the start."""
        self._since_last_s()

    @property
    def start_s(self) -> float:
        return sum(self._parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._parts.items())
        return f"{self.start_s:.1f} s: {parts}"

    def _since_last_s(self) -> float:
        now_s = time.time()
        # The wall clock may be set meanwhile.
        seconds, self._at_s = max(0.0, now_s - self._at_s), now_s
        return seconds


async def note(start_s: float) -> None:
    """Of the engine that is this Serve replica. A store that fails is no reason not to serve."""
    context = serve.get_replica_context()
    value = msgspec.json.encode(Start(start_s=start_s))
    key = f"{_prefix(context.app_name)}{context.deployment}"
    try:
        await asyncio.wait_for(asyncio.to_thread(cluster_store.put, key, value), STORE_WITHIN_S)
    except Exception as error:
        logger.warning("how long the engine took to start is not kept: %s", error)


def start_s(app: str, deployment: str) -> float | None:
    """None where none has started yet. Blocks; raises what the store raises."""
    value = cluster_store.get(_prefix(app) + deployment)
    return None if value is None else _decoded(value)


def read_all(app: str) -> dict[str, float]:
    """{deployment: seconds}; empty where the store does not answer. Blocks."""
    try:
        found = cluster_store.values(_prefix(app))
    except Exception as error:  # whatever it is, the store will be back
        logger.info("the store does not say how long engines take to start: %s", error)
        return {}
    starts = {key.removeprefix(_prefix(app)): _decoded(value) for key, value in found.items()}
    return {name: seconds for name, seconds in starts.items() if seconds is not None}


def _decoded(value: bytes) -> float | None:
    try:
        return msgspec.json.decode(value, type=Start).start_s
    except msgspec.DecodeError:  # other code's
        return None


def _prefix(app: str) -> str:
    return f"engine_start/{app}/"
