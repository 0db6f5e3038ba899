"""Why a request is refused, and what its client is told: status, OpenAI's `type` and `code`, when
to come again, and a sentence that names the value and its bound.

| reason          | status | because                                 | Retry-After                 |
|-----------------|--------|-----------------------------------------|-----------------------------|
| no_model        | 404    | the tenant may not use the model        | -                           |
| too_many_tokens | 400    | it asks for more than a minute's tokens | -                           |
| requests_rate   | 429    | the tenant is over requests_per_min     | when the bucket has one     |
| tokens_rate     | 429    | the tenant is over tokens_per_min       | when the bucket has so many |
| concurrent      | 429    | the tenant is over max_concurrent       | when one of its own may end |
| would_wait      | 503    | the fleet is full, for too long         | when the queue is short     |
| waited          | 503    | it was, for longer than foreseen        | when the queue is short     |
| queue_full      | 503    | no place in the queue is left for it    | when the queue is short     |

404 is what OpenAI answers for a model that a key does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cluster.admission.predicted_wait import Prediction, whole_seconds
from cluster.admission.tenant_limits import Limit, OverLimit
from cluster.admission.tenants import Tenant


class RefusalReason(StrEnum):
    """Metrics are labelled by it; see the table above."""

    NO_MODEL = "no_model"
    TOO_MANY_TOKENS = "too_many_tokens"
    REQUESTS_RATE = "requests_rate"
    TOKENS_RATE = "tokens_rate"
    CONCURRENT = "concurrent"
    WOULD_WAIT = "would_wait"
    WAITED = "waited"
    QUEUE_FULL = "queue_full"


_ANSWERS: dict[RefusalReason, tuple[int, str, str]] = {
    RefusalReason.NO_MODEL: (404, "invalid_request_error", "model_not_found"),
    RefusalReason.TOO_MANY_TOKENS: (400, "invalid_request_error", "tokens_per_min_exceeded"),
    RefusalReason.REQUESTS_RATE: (429, "requests", "rate_limit_exceeded"),
    RefusalReason.TOKENS_RATE: (429, "tokens", "rate_limit_exceeded"),
    RefusalReason.CONCURRENT: (429, "requests", "rate_limit_exceeded"),
    RefusalReason.WOULD_WAIT: (503, "server_error", "overloaded"),
    RefusalReason.WAITED: (503, "server_error", "overloaded"),
    RefusalReason.QUEUE_FULL: (503, "server_error", "overloaded"),
}
"""Status, `error.type`, `error.code`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`retry_after_s`: whole seconds, None where coming again would not help. `sentence`: the
    error's `message`."""

    reason: RefusalReason
    sentence: str
    retry_after_s: int | None = None

    @property
    def status(self) -> int:
        return _ANSWERS[self.reason][0]

    @property
    def error_type(self) -> str:
        return _ANSWERS[self.reason][1]

    @property
    def code(self) -> str:
        return _ANSWERS[self.reason][2]


def no_model(tenant: Tenant, model: str) -> Refused:
    allowed = ", ".join(tenant.models or ())
    return Refused(
        reason=RefusalReason.NO_MODEL,
        sentence=f"The model `{model}` does not exist for tenant {tenant.name!r}, which may use: "
        f"{allowed or 'none'}.",
    )


def over_limit(tenant: Tenant, tokens: int, over: OverLimit) -> Refused:
    """`tokens`: the request's prompt and max_tokens."""
    bound = f"{over.limit} is {getattr(tenant, over.limit)}"
    asked = f"The request may take {tokens} tokens (its prompt and max_tokens)"
    if over.is_never_within:
        return Refused(
            reason=RefusalReason.TOO_MANY_TOKENS,
            sentence=f"{asked}, more than tenant {tenant.name!r} has in a minute: {bound}.",
        )
    retry_after_s = whole_seconds(over.wait_s)
    asked = f" {asked}." if over.limit is Limit.TOKENS else ""
    return Refused(
        reason=_OVER[over.limit],
        sentence=f"Tenant {tenant.name!r} is at its limit: {bound}.{asked} "
        f"Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


def would_wait(model: str, prediction: Prediction) -> Refused:
    """`prediction.wait_s` is known: it is too long."""
    wait_s = prediction.wait_s or 0.0
    return _full(
        RefusalReason.WOULD_WAIT,
        f"All engines of model {model!r} are busy: the request would wait about {wait_s:.0f} s, "
        f"and may wait {prediction.max_wait_s:g} s.",
        prediction,
    )


def waited(model: str, waited_s: float, prediction: Prediction) -> Refused:
    """`prediction`: for one that came now."""
    return _full(
        RefusalReason.WAITED,
        f"All engines of model {model!r} are busy: the request has waited {waited_s:.1f} s, "
        f"and may wait {prediction.max_wait_s:g} s.",
        prediction,
    )


def queue_full(model: str, waiting: int, prediction: Prediction) -> Refused:
    """`waiting`: the tenant's requests in the queue."""
    return _full(
        RefusalReason.QUEUE_FULL,
        f"All engines of model {model!r} are busy, and {waiting} of the tenant's requests wait: "
        "there is no place for more.",
        prediction,
    )


def _full(reason: RefusalReason, sentence: str, prediction: Prediction) -> Refused:
    retry_after_s = prediction.retry_after_s
    return Refused(
        reason=reason,
        sentence=f"{sentence} Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )


_OVER = {
    Limit.REQUESTS: RefusalReason.REQUESTS_RATE,
    Limit.TOKENS: RefusalReason.TOKENS_RATE,
    Limit.CONCURRENT: RefusalReason.CONCURRENT,
}
