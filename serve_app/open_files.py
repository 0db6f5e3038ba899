"""Room for as many connections as the spec allows, seen to at a process's start."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger("tokenfleet.gateway")

OTHER_FILES = 1024
"""What a gateway has open beside its clients: engines, logs, Ray's own connections."""


def make_room(connections: int, limit: str) -> None:
    """Raise this process's limit of open files to what `connections` need, as far as it may be.

    Logs a warning that names `limit`, the setting that asks for so many, where it may not.
    """
    needed = connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        logger.warning(
            "this process may open %d files, and %s=%d connections need %d: beyond that, clients "
            "are refused; raise the limit (ulimit -Hn) on this node",
            allowed, limit, connections, needed,
        )  # fmt: skip
