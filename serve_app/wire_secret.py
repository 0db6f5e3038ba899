"""Where a process finds the cluster's wire secrets: in its environment, else in Ray's own store.

A cluster that was given none makes one at first use and keeps it in the key-value store of Ray's
GCS, so it is the same for every gateway and engine, and outlives them and Serve's controller. It is
as safe there as it needs to be: whoever can read that store can run code in the cluster anyway.

Ray has no public key-value store: `ray.experimental.internal_kv` is the one place where a secret
outlives every process but Ray's own. `tests/serve_app/test_wire_secret.py` pins the shape of what
is used here; written against Ray 2.60.0.
"""

from __future__ import annotations

import logging
import secrets

from ray.experimental import internal_kv

from serve_app import settings
from serve_app.wire_security import WireKeys

logger = logging.getLogger("tokenfleet.wire")

NAMESPACE, KEY = b"tokenfleet", b"wire_secret"
SECRET_BYTES = 32


def keys() -> WireKeys:
    """The keys of this cluster's wire. Asks Ray, so it may block; call it once, at a start.

    Raises ValueError for a bad TOKENFLEET_WIRE_SECRET, and RuntimeError outside a Ray cluster where
    none is set.
    """
    given = settings.wire_secrets()
    if given:
        logger.info("the wire secret is the environment's; %d accepted", len(given))
        return WireKeys.of(given)
    logger.info("no %s is set: the wire secret is the cluster's own", settings.WIRE_SECRET_ENV)
    return WireKeys.of([_of_cluster()])


def _of_cluster() -> str:
    if not internal_kv._internal_kv_initialized():
        raise RuntimeError("the cluster's wire secret is kept by Ray, which is not connected here")
    # Whoever is first decides, and all read what was decided, the first too.
    fresh = secrets.token_urlsafe(SECRET_BYTES)
    internal_kv._internal_kv_put(KEY, fresh.encode(), overwrite=False, namespace=NAMESPACE)
    kept = internal_kv._internal_kv_get(KEY, namespace=NAMESPACE)
    if kept is None:
        raise RuntimeError("Ray's key-value store did not keep the cluster's wire secret")
    return kept.decode()
