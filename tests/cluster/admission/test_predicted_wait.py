"""When a request is refused early, and when it is told to come again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission.predicted_wait import MOST_RETRY_S, Prediction, wait_s, whole_seconds


def prediction(wait: float | None, margin: float = 0.25) -> Prediction:
    return Prediction(wait_s=wait, max_wait_s=30.0, margin_frac=margin)


@pytest.mark.parametrize(
    ("wait", "too_long"), [(None, False), (0.0, False), (30.0, False), (40.0, False), (40.1, True)]
)
def test_only_what_is_too_long_less_the_margin_is_refused(
    wait: float | None, too_long: bool
) -> None:
    assert prediction(wait).is_too_long is too_long


@given(st.floats(0, 1e6), st.floats(0, 0.99))
def test_what_is_within_the_bound_is_never_refused(wait: float, margin: float) -> None:
    if wait <= 30.0:
        assert not prediction(wait, margin).is_too_long


@pytest.mark.parametrize(
    ("wait", "seconds"), [(None, 1), (5.0, 1), (30.5, 1), (42.2, 13), (1e9, MOST_RETRY_S)]
)
def test_the_client_comes_again_when_the_wait_is_down_to_what_it_may_be(
    wait: float | None, seconds: int
) -> None:
    assert prediction(wait).retry_after_s == seconds


def test_whole_seconds_are_no_less_than_the_wait() -> None:
    assert [whole_seconds(each) for each in (0.0, 1.0, 1.01, float("inf"))] == [1, 1, 2, 3600]


def test_the_wait_is_what_goes_before_by_what_goes_a_second() -> None:
    assert wait_s(100.0, 50.0) == 2.0
    assert wait_s(0.0, None) == 0.0
    assert wait_s(1.0, None) is None
    assert wait_s(1.0, 0.0) is None
