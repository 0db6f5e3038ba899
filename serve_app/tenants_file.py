"""The file of tenants, read again whenever it changes.

What is compared is its content, since a mounted secret changes by another file behind the same
path, and time stamps of some file systems are coarse. A file that became unreadable or wrong
changes nothing: the tenants that were read last stay, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from pathlib import Path

from cluster.admission.tenants import Tenant, load_tenants
from cluster.spec import ClusterSpec, SpecError
from serve_app import settings

logger = logging.getLogger("tokenfleet.gateway")

LOOK_EVERY_S = 2.0
"""So long, at most, a key that was taken out still opens anything; a look costs microseconds."""


class TenantsFile:
    """`path` may have `~` and `$VAR`; `models`: the names that there are. Every method blocks."""

    def __init__(self, path: str, models: Collection[str]) -> None:
        self._named, self._models = path, models
        self._seen: bytes | None = None

    def load(self) -> tuple[Tenant, ...]:
        """The tenants at a start. Raises SpecError."""
        self._seen = self._digest()
        return load_tenants(self._path, self._models)

    def look(self) -> tuple[Tenant, ...] | None:
        """The tenants, where they may have changed since the last look."""
        digest = self._digest()
        if digest == self._seen:
            return None
        self._seen = digest
        try:
            tenants = load_tenants(self._path, self._models)
        except (SpecError, RecursionError) as error:
            why = str(error).replace("\n", "; ")
            logger.error("%s: %s. The tenants read before stay", self._named, why)
            return None
        names = ", ".join(tenant.name for tenant in tenants)
        logger.info("%s changed; the tenants are: %s", self._named, names or "none")
        return tenants

    @property
    def exists(self) -> bool:
        """Whether it is on this machine."""
        return self._path.exists()

    @property
    def _path(self) -> Path:
        try:
            return Path(settings.expand(self._named))
        except KeyError as error:
            why = f"{self._named!r}: ${error.args[0]} is not set here"
            raise SpecError([("tenants_file", why)]) from None

    def _digest(self) -> bytes | None:
        try:
            return sha256(self._path.read_bytes()).digest()
        except OSError:
            return None


def check(spec: ClusterSpec) -> None:
    """Raises SpecError for a `tenants_file` that is wrong. One that is not on this machine may be
    on those that have gateways."""
    if spec.tenants_file is None:
        return
    file = TenantsFile(spec.tenants_file, [model.name for model in spec.models])
    if file.exists:
        file.load()


async def follow(file: TenantsFile, take: Callable[[Sequence[Tenant]], None]) -> None:
    """Give `take` the tenants each time that they change, for ever."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        changed = await asyncio.to_thread(file.look)
        if changed is None:
            continue
        try:
            take(changed)
        except Exception:  # the next change must not find nobody here
            logger.exception("the tenants were not changed")
