"""The cluster's own key-value store: what is put here outlives every process but Ray's GCS.

Ray has no public one: `ray.experimental.internal_kv` is the only place where something outlives
actors and Serve's controller without a service of its own. This is the one module that uses it;
`tests/serve_app/test_cluster_store.py` pins the shape of what is used, written against Ray 2.60.0.

Every call asks the GCS, so it may block. Each raises RuntimeError in a process that Ray is not
connected in, and whatever Ray raises where the GCS does not answer.
"""

from __future__ import annotations

from ray.experimental import internal_kv

NAMESPACE = b"tokenfleet"


def put(key: str, value: bytes, *, overwrite: bool = True) -> None:
    """Keep `value`; without `overwrite` only where the key has none."""
    _check_connected()
    internal_kv._internal_kv_put(key.encode(), value, overwrite=overwrite, namespace=NAMESPACE)


def get(key: str) -> bytes | None:
    """The key's value, None where it has none."""
    _check_connected()
    value: bytes | None = internal_kv._internal_kv_get(key.encode(), namespace=NAMESPACE)
    return value


def keys(prefix: str) -> list[str]:
    """The keys that start with `prefix`."""
    _check_connected()
    found = internal_kv._internal_kv_list(prefix.encode(), namespace=NAMESPACE)
    return [key.decode() for key in found]


def values(prefix: str) -> dict[str, bytes]:
    """What is kept under the keys that start with `prefix`, by key; one call for each."""
    found = {key: get(key) for key in keys(prefix)}
    return {key: value for key, value in found.items() if value is not None}  # not deleted since


def delete(key: str) -> None:
    """Forget the key, if it is there."""
    _check_connected()
    internal_kv._internal_kv_del(key.encode(), namespace=NAMESPACE)


def _check_connected() -> None:
    if not internal_kv._internal_kv_initialized():
        raise RuntimeError("the cluster's store is kept by Ray, which is not connected here")
