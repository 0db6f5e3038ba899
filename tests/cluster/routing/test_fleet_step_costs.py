"""Step costs that may be compared: equal within the error, told apart beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.routing.alike_steps import ALIKE_FRAC, alike
from cluster.types import StepCost
from tests.cluster.routing_cases import GPU, SLOW_GPU


def test_what_a_fit_cannot_tell_apart_is_no_difference():
    """The same step of 100 decodes, its base and its decodes confounded."""
    one = StepCost(base_s=0.012, prefill_token_s=1.5e-5, decode_request_s=4e-6)
    other = StepCost(base_s=0.008, prefill_token_s=1.8e-5, decode_request_s=5e-5)
    mean = StepCost(base_s=0.010, prefill_token_s=1.65e-5, decode_request_s=2.7e-5)
    assert alike([one, other], mean, 100.0) == [mean, mean]


@given(st.floats(0.0, 300.0))
def test_a_slow_engine_keeps_its_speed(decode_requests):
    mean = StepCost(base_s=0.035, prefill_token_s=2.5e-4, decode_request_s=3.5e-4)
    fast, slow = alike([GPU, SLOW_GPU], mean, decode_requests)
    for own, found in ((GPU, fast), (SLOW_GPU, slow)):
        assert found.prefill_token_s == pytest.approx(own.prefill_token_s)
        step_s = own.base_s + own.decode_request_s * decode_requests
        found_s = found.base_s + found.decode_request_s * decode_requests
        assert found_s == pytest.approx(step_s)


@given(st.floats(1.0 - ALIKE_FRAC + 1e-6, 1.0 + ALIKE_FRAC - 1e-6), st.floats(0.0, 300.0))
def test_within_the_error_speeds_are_the_same(factor, decode_requests):
    own = StepCost(
        base_s=factor * GPU.base_s,
        prefill_token_s=factor * GPU.prefill_token_s,
        decode_request_s=factor * GPU.decode_request_s,
    )
    assert alike([own], GPU, decode_requests) == [GPU]


def test_nothing_is_divided_by_a_mean_of_nothing():
    free = StepCost(base_s=0.0, prefill_token_s=0.0, decode_request_s=0.0)
    assert alike([free], free, 0.0) == [free]
