"""Where a process finds the cluster's wire secrets: in its environment, else in Ray's own store.

A cluster that was given none makes one at first use and keeps it in the key-value store of Ray's
GCS, so it is the same for every gateway and engine, and outlives them and Serve's controller. It is
as safe there as it needs to be: whoever can read that store can run code in the cluster anyway.
"""

from __future__ import annotations

import logging
import secrets

from serve_app import cluster_store, settings
from serve_app.wire_security import WireKeys

logger = logging.getLogger("tokenfleet.wire")

KEY = "wire_secret"
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
    # Whoever is first decides, and all read what was decided, the first too.
    fresh = secrets.token_urlsafe(SECRET_BYTES)
    cluster_store.put(KEY, fresh.encode(), overwrite=False)
    kept = cluster_store.get(KEY)
    if kept is None:
        raise RuntimeError("Ray's key-value store did not keep the cluster's wire secret")
    return kept.decode()
