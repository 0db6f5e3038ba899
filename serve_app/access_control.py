"""Who asks, and whether it may: the first thing that is found out about a request.

A key comes as `Authorization: Bearer KEY`, or as `x-api-key: KEY`, which is how Anthropic's clients
send it. It is quoted nowhere, and a wrong one, a revoked one and none are answered alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Scope

from cluster.admission.keyring import Keyring
from cluster.admission.tenants import Tenant
from serve_app.caller import ANYONE, Caller
from serve_app.errors import AdminNeededError, KeyNeededError
from serve_app.route_access import Need, need_of

NOBODY = Caller(tenant=Tenant(name="nobody", key_hashes=(), models=()), is_admin=False)
"""Who needs no key where others do."""


class AccessControl:
    """`tenants` None: the cluster is open, and everyone is `ANYONE`. None of them (a file may come
    to list none) is not that: then nobody has a key."""

    def __init__(self, tenants: Sequence[Tenant] | None) -> None:
        self._is_open = tenants is None
        self.have_tenants(tenants or ())

    def have_tenants(self, tenants: Sequence[Tenant]) -> None:
        """From now on these are the tenants; another's key opens nothing any more."""
        self._keyring = Keyring(tenants) if tenants else None
        self._callers = {each.name: Caller(tenant=each, is_admin=each.admin) for each in tenants}

    def caller(self, scope: Scope) -> Caller:
        """Who sends a request, whose route it may use.

        Raises:
            KeyNeededError: it shows no key that is known.
            AdminNeededError: the route is operational, and the key is no admin's.
        """
        if self._is_open:
            return ANYONE
        need = need_of(scope)
        if need is Need.NOTHING:
            return NOBODY
        tenant = self._keyring.find(shown_key(scope)) if self._keyring is not None else None
        if tenant is None:
            raise KeyNeededError
        caller = self._callers[tenant.name]
        if need is Need.ADMIN and not caller.is_admin:
            raise AdminNeededError(scope["path"], tenant.name)
        return caller


def shown_key(scope: Scope) -> str | None:
    """The key that a request shows; a bearer token comes before `x-api-key`."""
    other = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return _text(key)
        elif name == b"x-api-key" and other is None:
            other = value
    return None if other is None else _text(other)


def _text(value: bytes) -> str:
    return value.strip().decode("utf-8", "backslashreplace")
