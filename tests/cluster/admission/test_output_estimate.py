"""How many tokens an answer is expected to have."""

import pytest

from cluster.admission.output_estimate import FIRST_TOKENS, OutputEstimate


def test_it_learns_of_each_tenant_and_of_all() -> None:
    estimate = OutputEstimate()
    assert estimate.tokens("a", None) == FIRST_TOKENS
    for _ in range(200):
        estimate.saw("a", 10)
        estimate.saw("b", 1000)
    assert estimate.tokens("a", None) == 10
    assert estimate.tokens("b", None) == 1000
    assert estimate.typical_tokens == pytest.approx(505, rel=0.1)
    assert estimate.tokens("new", None) == round(estimate.typical_tokens)


def test_max_tokens_bounds_it_and_it_is_never_nothing() -> None:
    estimate = OutputEstimate()
    assert estimate.tokens("a", 7) == 7
    assert estimate.tokens("a", 0) == 1
    for _ in range(500):
        estimate.saw("a", 0)
    assert estimate.tokens("a", None) == 1


def test_tenants_that_are_gone_are_forgotten() -> None:
    estimate = OutputEstimate()
    for _ in range(200):
        estimate.saw("a", 10)
    estimate.saw("b", 1000)
    estimate.keep_only({"b"})
    assert estimate.tokens("a", None) == round(estimate.typical_tokens) != 10
