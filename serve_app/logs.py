"""Our loggers and vLLM's inside Ray Serve's replicas: to the replica's own log, in Serve's format.

vLLM must not configure logging there: Python's `dictConfig` closes every handler of the process,
Serve's among them, whose log file is then lost, and a Serve controller that comes back after a
crash takes a replica without one for broken and replaces it.
"""

from __future__ import annotations

import logging

from serve_app.errors import GatewayError


class NoRefusals(logging.Filter):
    """Passes all but what vLLM logs of a request that the gateway refused: its client has been
    told, it is counted, and thousands of tracebacks would take the time of those that are served.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or not isinstance(error.__cause__, GatewayError)


LEAVE_HANDLERS_ENV = {"VLLM_CONFIGURE_LOGGING": "0"}
"""For the environment of a replica, before vLLM is imported there."""


def configure_logging() -> None:
    """Send `tokenfleet.*` and `vllm.*` where Serve's replica log goes. Idempotent."""
    serves = logging.getLogger("ray.serve")
    for handler in serves.handlers:
        if not any(isinstance(each, NoRefusals) for each in handler.filters):
            handler.addFilter(NoRefusals())
    for name in ("tokenfleet", "vllm"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers = list(serves.handlers)
        logger.propagate = not serves.handlers
