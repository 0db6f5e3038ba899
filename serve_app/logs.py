"""Our loggers inside Ray Serve's replicas: to the replica's own log, in Serve's format."""

from __future__ import annotations

import logging


def configure_logging() -> None:
    """Send `tokenfleet.*` where Serve's replica log goes. Idempotent."""
    ours, serves = logging.getLogger("tokenfleet"), logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)
    ours.handlers = list(serves.handlers)
    ours.propagate = not serves.handlers
