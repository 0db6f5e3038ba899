"""The boundary between policy and mechanism: every value that crosses it.

`serve_app` builds snapshots from live state, `cluster` returns decisions; both are frozen, and no
framework type appears in them. The simulator builds the same snapshots from simulated state.

Units are in the names: `_tokens`, `_requests`, `_s` (seconds, monotonic clock), `_frac` (0 to 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol

ReplicaId = NewType("ReplicaId", str)


class Rng(Protocol):
    """The randomness a policy may use; `random.Random` satisfies it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """Uniform integer in [0, stop)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot:
    """One engine replica as the router sees it at one instant.

    `outstanding_tokens` and `inflight_requests` count what this gateway has sent and not seen end;
    the other loads are the engine's own last report, over all gateways.
    """

    id: ReplicaId
    outstanding_tokens: int = 0
    inflight_requests: int = 0
    running_requests: int = 0
    waiting_requests: int = 0
    kv_use_frac: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRequest:
    """What the router may know of a request: its size, never its text."""

    prompt_tokens: int
    max_output_tokens: int


class RouteReason(StrEnum):
    """Why a replica was picked."""

    ONLY = "only"
    LEAST_LOADED = "least_loaded"
    TIE = "tie"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecision:
    """The picked replica, why, and the load that decided it."""

    replica_id: ReplicaId
    reason: RouteReason
    candidates: int
    outstanding_tokens: int
