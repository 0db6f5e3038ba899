"""What one gateway knows of its tenants: their keys, their use, their shares of the limits.

Where they come from: the spec, or its `tenants_file`, which is followed. Where they go: to
`access_control`, and to the gateway's admission, which also has what the other gateways leave it of
each limit (`limit_shares`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.admission.keyless import OPEN_BY_ACCIDENT, everyone, is_loopback
from cluster.admission.tenants import OPEN, Tenant
from cluster.spec import ClusterSpec, GatewaySpec, SpecError
from serve_app import serve_address, settings
from serve_app.access_control import AccessControl
from serve_app.limit_shares import Sharing, keep_shares, say_left
from serve_app.tenants_file import TenantsFile, follow
from serve_app.usage_book import UsageBook
from serve_app.usage_ledger import UsageLedger

logger = logging.getLogger("tokenfleet.gateway")

BYTES_PER_MB = 1_000_000


class Desk(Sharing, Protocol):
    """A gateway's admission; called on its event loop."""

    def have_tenants(self, tenants: Sequence[Tenant]) -> None: ...

    def share_room(self, share: float) -> None: ...


class Tenancy:
    """One gateway's. `limits` is a handle of `LimitShares`, None where there are no limits."""

    def __init__(
        self,
        spec: ClusterSpec,
        tenants: Sequence[Tenant] | None,
        file: TenantsFile | None,
        usage: UsageBook,
        limits: Any,
    ) -> None:
        self.tenants: Sequence[Tenant] = (OPEN,) if tenants is None else tenants
        self.access = AccessControl(tenants)
        self.usage = usage
        self._file, self._limits = file, limits
        self._share_report_s = spec.gateway.admission.share_report_s
        self._desk: Desk | None = None

    @classmethod
    def open(cls, spec: ClusterSpec, *, gateway: str, app: str, limits: Any) -> Tenancy:
        """At a gateway's start. Blocks.

        Raises SpecError for tenants that cannot be read, a ledger that cannot be written, and a
        cluster that would be open to others by accident.
        """
        settings.refuse_vllm_key()
        file = None
        tenants: Sequence[Tenant] | None = spec.tenants or None
        if spec.tenants_file is not None:
            file = TenantsFile(spec.tenants_file, {model.name for model in spec.models})
            tenants = file.load()
        if tenants is None:
            _check_open(spec)
        usage = UsageBook(gateway, app, _ledger(spec.gateway, gateway))
        return cls(spec, tenants, file, usage, limits)

    async def run(self, desk: Desk | None) -> None:
        """Keep `desk` up to date, for ever."""
        self._desk = desk
        async with asyncio.TaskGroup() as group:
            group.create_task(self.usage.keep())
            if self._file is not None:
                group.create_task(follow(self._file, self._have_tenants))
            if self._limits is not None and desk is not None:
                group.create_task(keep_shares(desk, self._limits, self._share_report_s))

    def _have_tenants(self, tenants: Sequence[Tenant]) -> None:
        # Admission first: it must know whoever a key then lets in.
        if self._desk is not None:
            self._desk.have_tenants(tenants)
        self.access.have_tenants(tenants)
        self.tenants = tenants

    async def close(self, gateway: str) -> None:
        """This gateway lets nothing through any more."""
        if self._limits is not None:
            await say_left(self._limits, gateway)
        await self.usage.close()


def _check_open(spec: ClusterSpec) -> None:
    host = serve_address.http_host()
    if not spec.gateway.open and not is_loopback(host):
        raise SpecError([("gateway.open", f"Ray Serve listens at {host}: {OPEN_BY_ACCIDENT}")])
    logger.warning(everyone(host))


def _ledger(spec: GatewaySpec, gateway: str) -> UsageLedger | None:
    if spec.usage_ledger is None:
        return None
    try:
        folder = Path(settings.expand(spec.usage_ledger))
        size_bytes = round(spec.usage_ledger_mb * BYTES_PER_MB)
        return UsageLedger(folder, gateway, max_bytes=size_bytes, files=spec.usage_ledger_files)
    except KeyError as error:
        why = f"{spec.usage_ledger!r}: ${error.args[0]} is not set here"
    except OSError as error:
        why = f"{spec.usage_ledger!r} cannot be written: {error.strerror}"
    raise SpecError([("gateway.usage_ledger", why)])
