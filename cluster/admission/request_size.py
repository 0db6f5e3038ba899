"""What a request is expected to take: of its tenant's limit, of its share, and of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.admission.boundary import Offer, Served
from cluster.admission.engine_room import Need
from cluster.admission.output_estimate import OutputEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSize:
    """`reserved_tokens`: prompt and max_tokens, or the expected output where that is not set.
    `cost`: the prompt's tokens that are not cached, and the expected output."""

    reserved_tokens: int
    cost: float
    need: Need


def size_of(offer: Offer, estimate: OutputEstimate) -> RequestSize:
    """Before it has been at an engine."""
    expected = estimate.tokens(offer.tenant.name, offer.max_output_tokens)
    bound = expected if offer.max_output_tokens is None else offer.max_output_tokens
    uncached = max(1, offer.prompt_tokens - offer.cached_tokens)  # an engine needs the last one
    return RequestSize(
        reserved_tokens=offer.prompt_tokens + bound,
        cost=uncached + expected,
        need=Need(prefill_tokens=uncached, kv_tokens=offer.prompt_tokens + expected / 2),
    )


def size_of_rest(offer: Offer, served: Served, estimate: OutputEstimate) -> RequestSize:
    """After it was paused. What is computed again is no fault of the tenant's: it takes room, and
    does not count in its share."""
    expected = estimate.tokens(offer.tenant.name, offer.max_output_tokens)
    left = max(1, expected - served.output_tokens)
    return RequestSize(
        reserved_tokens=size_of(offer, estimate).reserved_tokens,
        cost=left,
        need=Need(prefill_tokens=served.tokens, kv_tokens=served.tokens + left / 2),
    )
