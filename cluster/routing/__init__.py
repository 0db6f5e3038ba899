"""Routing policies: which engine replica takes a request.

One policy per file, each a `Router`. The switch holds exactly one and calls it for every attempt of
every request; the simulator holds the same object. `cluster.routing.policies` has them by name.
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

    What a policy remembers (whose turn it was, which replica got which blocks) it learns from its
    own `choose` calls alone, each of which counts as a request sent. Nobody tells it that a replica
    came or left: a new one turns up among the `replicas`, and what is known of one that no longer
    does is dropped in time, so that memory stays bounded. `copy.deepcopy` gives a router to ask
    without leaving a trace, and is cheap; two equal ones asked the same pick the same.
    """

    def choose(
        self, request: RouteRequest, replicas: Sequence[ReplicaSnapshot], rng: Rng
    ) -> RouteDecision: ...
