"""Who asks: set once per request by the gateway's shell, read where a request meets its engine."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from cluster.admission.tenants import OPEN, Tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """`is_admin`: may use the operational routes, too."""

    tenant: Tenant
    is_admin: bool


ANYONE = Caller(tenant=OPEN, is_admin=True)

CALLER: ContextVar[Caller] = ContextVar("caller", default=ANYONE)
"""Of the request that the current task answers. Tasks that it starts inherit it."""
