"""Routing policies: which engine replica takes a request.

One policy per file, each a `Router`. The switch holds exactly one and calls it for every attempt of
every request; the simulator holds the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cluster.types import ReplicaSnapshot, Rng, RouteDecision, RouteRequest


class Router(Protocol):
    """Picks a replica for a request.

    Contract: `replicas` is never empty and holds only replicas that may take the request (ready,
    and of the right model fingerprint). The decision names one of them. A policy keeps no clock and
    no random state of its own: permuting `replicas` may change the pick only through `rng`.
    """

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision: ...
