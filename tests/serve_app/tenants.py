"""Three tenants, and a request's header with the key of each."""

from __future__ import annotations

from cluster.admission.keyring import key_hash
from cluster.admission.tenants import Tenant


def key_of(name: str) -> str:
    return f"key-of-{name}"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(name)}"}


def tenant(name: str, **fields) -> Tenant:
    return Tenant(name=name, key_hashes=(key_hash(key_of(name)),), **fields)


SEARCH, ONE_ONLY, OPS = (
    tenant("search"),
    tenant("one-only", models=("one",)),
    tenant("ops", admin=True),
)
TENANTS = (SEARCH, ONE_ONLY, OPS)
