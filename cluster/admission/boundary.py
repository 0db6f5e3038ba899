"""What a gateway tells its `Admission`, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.admission.refusal import Refused
from cluster.admission.tenants import Priority, Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A request. `prompt_tokens`: an estimate will do. `max_output_tokens`: what its client sets,
    over all its answers; None where it sets nothing. `cached_tokens`: of its prompt, what an engine
    is expected to hold."""

    request_id: str
    tenant: Tenant
    model: str
    prompt_tokens: int
    max_output_tokens: int | None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """It goes to an engine now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """It waits. `predicted_wait_s`: None where nothing is known yet."""

    predicted_wait_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """`send`: those that go to an engine now, in this order. `refused`: those that have waited too
    long; they are over."""

    send: Sequence[str]
    refused: Sequence[tuple[str, Refused]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a request has got, over all its attempts: each token once."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        """That count against the tenant's limit: prompt and output, cached or not."""
        return self.prompt_tokens + self.output_tokens

    @property
    def cost(self) -> int:
        """That count in its share of the engines: those that were computed."""
        return max(0, self.prompt_tokens - self.cached_tokens) + self.output_tokens


NOTHING = Served()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One model's queue at this gateway; also what its scaler goes by.

    `waiting_tokens`: their cost, prompts not cached and outputs expected.
    `drain_tokens_per_s`: None where it is not known.
    """

    waiting_requests: Mapping[Priority, int]
    waiting_tokens: float
    drain_tokens_per_s: float | None
