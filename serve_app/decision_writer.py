"""Adds a sample of a model's routing decisions to a file; see `cluster.routing.decision_log`."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.routing.decision_log import dumps, record
from cluster.spec import RoutingSpec
from cluster.types import ReplicaSnapshot, RouteDecision, RouteRequest

logger = logging.getLogger("tokenfleet.gateway")


class DecisionWriter:
    """Call it with every decision. Several processes may add to one file: a line is one write."""

    def __init__(self, path: Path, policy: str, frac: float) -> None:
        self._path, self._policy, self._frac = path, policy, frac
        self._sample = random.Random()
        self._broken = False

    @classmethod
    def of(cls, routing: RoutingSpec) -> DecisionWriter | None:
        """None where the spec names no file."""
        if routing.decision_log is None:
            return None
        return cls(Path(routing.decision_log), routing.policy, routing.decision_log_frac)

    def __call__(
        self, request: RouteRequest, seen: Sequence[ReplicaSnapshot], decision: RouteDecision
    ) -> None:
        if self._broken or self._sample.random() >= self._frac:
            return
        line = dumps(record(self._policy, request, seen, decision, at_unix_s=time.time()))
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(f"{line}\n".encode())
        except OSError as error:  # the requests matter more; say it once
            self._broken = True
            logger.error("routing.decision_log: no decision is logged any more: %s", error)
