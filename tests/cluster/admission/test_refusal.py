"""What a refused client is told: the status for whose fault it is, and a sentence with numbers."""

import pytest

from cluster.admission import refusal
from cluster.admission.predicted_wait import Prediction
from cluster.admission.refusal import RefusalReason, Refused
from cluster.admission.tenant_limits import Limit, OverLimit
from tests.cluster.admission.admission_cases import tenant

A = tenant("a", models=("m",), requests_per_min=60, tokens_per_min=500, max_concurrent=2)
LONG = Prediction(wait_s=99.6, max_wait_s=30.0, margin_frac=0.25)

CASES = {
    "another's model": (
        refusal.no_model(A, "n"),
        (404, "invalid_request_error", "model_not_found", None),
        "The model `n` does not exist for tenant 'a', which may use: m.",
    ),
    "more than a minute's tokens": (
        refusal.over_limit(A, 501, OverLimit(limit=Limit.TOKENS, wait_s=float("inf"))),
        (400, "invalid_request_error", "tokens_per_min_exceeded", None),
        "The request may take 501 tokens (its prompt and max_tokens), more than tenant 'a' has in "
        "a minute: tokens_per_min is 500.",
    ),
    "too many requests": (
        refusal.over_limit(A, 5, OverLimit(limit=Limit.REQUESTS, wait_s=0.2)),
        (429, "requests", "rate_limit_exceeded", 1),
        "Tenant 'a' is at its limit: requests_per_min is 60. Try again in 1 s.",
    ),
    "too many tokens": (
        refusal.over_limit(A, 77, OverLimit(limit=Limit.TOKENS, wait_s=6.1)),
        (429, "tokens", "rate_limit_exceeded", 7),
        "Tenant 'a' is at its limit: tokens_per_min is 500. The request may take 77 tokens (its "
        "prompt and max_tokens). Try again in 7 s.",
    ),
    "too many at a time": (
        refusal.over_limit(A, 5, OverLimit(limit=Limit.CONCURRENT, wait_s=2.0)),
        (429, "requests", "rate_limit_exceeded", 2),
        "Tenant 'a' is at its limit: max_concurrent is 2. Try again in 2 s.",
    ),
    "a fleet that is full": (
        refusal.would_wait("m", LONG),
        (503, "server_error", "overloaded", 70),
        "All engines of model 'm' are busy: the request would wait about 100 s, and may wait 30 s. "
        "Try again in 70 s.",
    ),
    "one that waited": (
        refusal.waited("m", 30.04, LONG),
        (503, "server_error", "overloaded", 70),
        "All engines of model 'm' are busy: the request has waited 30.0 s, and may wait 30 s. Try "
        "again in 70 s.",
    ),
    "a queue without a place": (
        refusal.queue_full("m", 2048, LONG),
        (503, "server_error", "overloaded", 70),
        "All engines of model 'm' are busy, and 2048 of the tenant's requests wait: there is no "
        "place for more. Try again in 70 s.",
    ),
}


@pytest.mark.parametrize(("refused", "answer", "sentence"), CASES.values(), ids=CASES)
def test_the_answer(
    refused: Refused, answer: tuple[int, str, str, int | None], sentence: str
) -> None:
    told = (refused.status, refused.error_type, refused.code, refused.retry_after_s)
    assert told == answer
    assert refused.sentence == sentence


def test_every_reason_is_in_the_table_and_tested() -> None:
    assert {refused.reason for refused, *_ in CASES.values()} == set(RefusalReason)
    table = refusal.__doc__ or ""
    for refused, (status, *_), _ in CASES.values():
        assert any(
            line.startswith(f"| {refused.reason} ") and f"| {status} " in line
            for line in table.splitlines()
        )
