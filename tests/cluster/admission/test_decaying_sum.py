"""A sum that forgets."""

from math import exp

import pytest

from cluster.admission.decaying_sum import DecayingSum


def test_after_a_time_constant_a_third_is_left() -> None:
    forgetting = DecayingSum(time_constant_s=10.0, now_s=0.0)
    forgetting.add(3.0, 0.0)
    assert forgetting.value(10.0) == pytest.approx(3.0 * exp(-1))


def test_a_steady_rate_is_found() -> None:
    forgetting = DecayingSum(time_constant_s=10.0, now_s=0.0)
    for tick in range(10_000):
        forgetting.add(0.5, tick / 100)
    assert forgetting.per_s(100.0) == pytest.approx(50.0, rel=0.01)
