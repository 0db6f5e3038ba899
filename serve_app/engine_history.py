"""What became of a model's engines, kept where the next one finds it: in the cluster's store.

Each engine writes keys of its own and no other's, so nothing is lost where several write at once:

| key                                             | holds                  | while             |
|-------------------------------------------------|------------------------|-------------------|
| `engine_life/app/deployment/version/engine id`  | `cluster.crash_loop`'s | it is remembered  |
| `engine_wait/app/deployment/engine id`          | `Wait`                 | the engine waits  |

Whoever reads deletes what is of no more use. `version` is that of `serve_app.code_version`: engines
of other code or other arguments say nothing about the next one of these. The store only ever delays
a start; where it fails, engines start and run as if there were no history.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from ray import serve

from cluster import crash_loop
from cluster.crash_loop import Life
from cluster.spec import FailoverSpec
from serve_app import cluster_store

logger = logging.getLogger("tokenfleet.engine")

T = TypeVar("T")

STORE_WITHIN_S = 5.0
"""What a start waits for the store to answer."""

LEFT_WITHIN_S = 0.5
"""What an engine that leaves waits for the store to take note; its streams stand still meanwhile.
It is a matter of a millisecond, unless the GCS is gone too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """An engine waits, until a wall-clock time, after so many young deaths."""

    engine_id: str
    until_s: float
    young_deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose history it is: one engine's, among those of its model."""

    app: str
    deployment: str
    version: str
    engine_id: str

    @property
    def lives_prefix(self) -> str:
        """Of all versions, so that an old one's keys are deleted too."""
        return f"engine_life/{self.app}/{self.deployment}/"

    @property
    def version_prefix(self) -> str:
        return f"{self.lives_prefix}{self.version}/"

    @property
    def life_key(self) -> str:
        return self.version_prefix + self.engine_id

    @property
    def wait_key(self) -> str:
        return f"{_waits_prefix(self.app)}{self.deployment}/{self.engine_id}"


class EngineHistory:
    """Of an engine whose restarts are not backed off: it looks at nothing and writes nothing."""

    async def back_off(self) -> None:
        """Before the engine starts: wait, where those before it died young."""

    def ready(self) -> None:
        """Its life begins."""

    def leave(self) -> None:
        """It goes because it was told to. Once it was ready; more than once does no harm."""


class KeptHistory(EngineHistory):
    """In the cluster's store."""

    def __init__(self, place: Place, backoff_max_s: float) -> None:
        self._place, self._backoff_max_s = place, backoff_max_s
        self._ready_at_s = 0.0
        self._leaving = threading.Event()
        # A daemon: the interpreter waits for other threads before `atexit`, where an engine that is
        # told to end still has to leave, and a store that does not answer must not hold that up.
        self._beats = threading.Thread(target=self._beat, name="engine-history", daemon=True)
        self._warned = False

    async def back_off(self) -> None:
        deaths = await self._ask(lambda: _young_deaths(self._place)) or 0
        wait_s = crash_loop.backoff_s(deaths, self._backoff_max_s)
        if not wait_s:
            return
        logger.warning(
            "the last %d engines of %s died within %g s of being ready, one after the other: this "
            "one starts in %g s (failover.restart_backoff_max_s is %g)",
            *(deaths, self._place.deployment, crash_loop.YOUNG_S, wait_s, self._backoff_max_s),
        )
        key, until_s = self._place.wait_key, time.time() + wait_s
        wait = Wait(engine_id=self._place.engine_id, until_s=until_s, young_deaths=deaths)
        await self._ask(lambda: cluster_store.put(key, msgspec.json.encode(wait)))
        try:
            await asyncio.sleep(wait_s)
        finally:
            await self._ask(lambda: cluster_store.delete(key))

    def ready(self) -> None:
        self._ready_at_s = time.time()
        self._beats.start()

    def leave(self) -> None:
        self._leaving.set()
        if self._beats.is_alive():
            self._beats.join(LEFT_WITHIN_S)

    def _beat(self) -> None:
        """Write the life until it ends; on its own thread."""
        left = False
        while not left:
            left = self._leaving.is_set()
            life = Life(ready_at_s=self._ready_at_s, last_alive_at_s=time.time(), left=left)
            try:
                cluster_store.put(self._place.life_key, msgspec.json.encode(life))
            except Exception as error:  # whatever it is, the engine does without
                self._warn(error)
            self._leaving.wait(0.0 if left else crash_loop.BEAT_EVERY_S)

    async def _ask(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None where the store fails or is slow."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(call), STORE_WITHIN_S)
        except Exception as error:
            self._warn(error)
            return None

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            what = f"{type(error).__name__}: {error}"
            logger.warning("the history of engines is not kept, or incomplete: %s", what)


def of_this_replica(limits: FailoverSpec) -> EngineHistory:
    """Of the engine that is this Serve replica."""
    if limits.restart_backoff_max_s == 0:
        return EngineHistory()
    context = serve.get_replica_context()
    place = Place(
        app=context.app_name,
        deployment=context.deployment,
        version=str(context.code_version),
        engine_id=context.replica_id.unique_id,
    )
    return KeptHistory(place, limits.restart_backoff_max_s)


def waits(app: str) -> dict[str, list[Wait]]:
    """{deployment: the engines that wait now}; empty where the store does not answer. Blocks."""
    try:
        found = _read(_waits_prefix(app), Wait)
        found_now: defaultdict[str, list[Wait]] = defaultdict(list)
        for key, wait in found.items():
            if wait.until_s > time.time():
                found_now[key.split("/")[-2]].append(wait)
            else:  # it deletes that itself, unless it was killed before
                cluster_store.delete(key)
    except Exception as error:  # whatever it is, the store will be back
        logger.info("the store does not say which engines wait: %s", error)
        return {}
    return dict(found_now)


def _young_deaths(place: Place) -> int:
    """Of the engines of this version; deletes what need not be remembered of any version."""
    now_s = time.time()
    lives = _read(place.lives_prefix, Life)
    remembered = crash_loop.remembered(lives.values(), now_s)
    for key, life in lives.items():
        if life not in remembered:
            cluster_store.delete(key)
    alike = [life for key, life in lives.items() if key.startswith(place.version_prefix)]
    return crash_loop.young_deaths(alike, now_s)


def _read(prefix: str, kind: type[T]) -> dict[str, T]:
    """The records under `prefix`; those that other code wrote in another form are deleted."""
    found: dict[str, T] = {}
    for key, value in cluster_store.values(prefix).items():
        try:
            found[key] = msgspec.json.decode(value, type=kind)
        except msgspec.DecodeError:
            cluster_store.delete(key)
    return found


def _waits_prefix(app: str) -> str:
    return f"engine_wait/{app}/"
