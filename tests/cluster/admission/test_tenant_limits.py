"""One tenant's limits: what is over which, when it will be within, and that no token gets lost."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.admission.tenant_limits import Limit, OverLimit, TenantLimits
from tests.cluster.admission.admission_cases import tenant


def limits(share: float = 1.0, **fields: int) -> TenantLimits:
    return TenantLimits(tenant(**fields), share=share, now_s=0.0)


def test_without_limits_nothing_is_over() -> None:
    free = limits()
    for number in range(1000):
        assert free.over(10**9, 0.0) is None
        free.reserve(10**9, 0.0)
        assert free.concurrent == number + 1


def test_each_limit_says_which_it_is_and_how_long() -> None:
    requests = limits(requests_per_min=2)
    requests.reserve(1, 0.0)
    requests.reserve(1, 0.0)
    assert requests.over(1, 0.0) == OverLimit(limit=Limit.REQUESTS, wait_s=30.0)

    tokens = limits(tokens_per_min=600)
    tokens.reserve(600, 0.0)
    assert tokens.over(100, 0.0) == OverLimit(limit=Limit.TOKENS, wait_s=10.0)

    concurrent = limits(max_concurrent=2)
    concurrent.reserve(1, 0.0)
    concurrent.reserve(1, 0.0)
    assert concurrent.over(1, 0.0) == OverLimit(limit=Limit.CONCURRENT, wait_s=0.5)
    concurrent.settle(1, 1, 8.0, duration_s=8.0)
    concurrent.reserve(1, 8.0)
    assert concurrent.over(1, 8.0) == OverLimit(limit=Limit.CONCURRENT, wait_s=4.0)


def test_of_several_the_longest_wait_counts() -> None:
    both = limits(requests_per_min=60, tokens_per_min=60)
    for _ in range(60):
        both.reserve(1, 0.0)
    assert both.over(1, 0.0) is not None
    assert both.over(30, 0.0) == OverLimit(limit=Limit.TOKENS, wait_s=30.0)


def test_more_than_a_minutes_tokens_is_never_within() -> None:
    over = limits(tokens_per_min=600).over(601, 0.0)
    assert over is not None
    assert over.is_never_within
    assert over.wait_s == inf


def test_with_a_small_share_a_request_within_the_whole_limit_still_passes() -> None:
    quarter = limits(share=0.25, tokens_per_min=600)
    assert quarter.over(600, 0.0) is None
    quarter.reserve(600, 0.0)
    assert quarter.over(1, 0.0) == OverLimit(limit=Limit.TOKENS, wait_s=pytest.approx(451 / 2.5))


def test_without_a_share_it_is_a_matter_of_the_next_reports() -> None:
    none = limits(share=0.0, tokens_per_min=600, requests_per_min=60)
    none.reserve(1, 0.0)
    over = none.over(10, 0.0)
    assert over is not None
    assert not over.is_never_within


def test_a_request_refused_after_all_does_not_count_among_the_minutes() -> None:
    one = limits(requests_per_min=1)
    one.reserve(1, 0.0)
    one.settle(1, 0, 0.0)
    assert one.over(1, 0.0) is not None
    one.uncount_request(0.0)
    assert one.over(1, 0.0) is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "resize", "share", "change"]),
        st.integers(0, 300),
        st.floats(0, 20),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_reserved_is_settled_and_released_and_what_is_open(
    events: list[tuple[str, int, float]],
) -> None:
    one, now_s = limits(tokens_per_min=1000, max_concurrent=5), 0.0
    reserved: list[int] = []
    used = 0
    for kind, amount, wait_s in events:
        now_s += wait_s
        if kind == "reserve" and one.over(amount, now_s) is None:
            one.reserve(amount, now_s)
            reserved.append(amount)
        elif kind == "settle" and reserved:
            one.settle(reserved.pop(), amount, now_s)
            used += amount
        elif kind == "resize" and reserved:
            one.resized(reserved.pop(), amount, now_s)
            reserved.append(amount)
        elif kind == "share":
            one.have_shares(rate=amount / 300, concurrent=amount / 300, now_s=now_s)
        elif kind == "change":
            one.change(tenant(tokens_per_min=1 + amount), now_s)
        count = one.tokens
        assert count.reserved == count.settled + count.released + count.open
        assert count.open == sum(reserved)
        assert count.settled + count.overdrawn == used
        assert one.concurrent == len(reserved)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400), st.floats(0, 5)), max_size=50))
def test_what_is_used_is_within_the_rate_and_what_is_not_used_comes_back(
    requests: list[tuple[int, int, float]],
) -> None:
    """Requests end at once: then only what they used has been taken."""
    one, now_s, used = limits(tokens_per_min=600), 0.0, 0
    for asked, wanted, wait_s in requests:
        now_s += wait_s
        if one.over(asked, now_s) is None:
            one.reserve(asked, now_s)
            one.settle(asked, min(wanted, asked), now_s)
            used += min(wanted, asked)
        assert used <= 600 + 10 * now_s + 1e-6


def test_demand_is_what_is_asked_for_whether_admitted_or_not() -> None:
    one = limits(requests_per_min=60, tokens_per_min=10**6, max_concurrent=3)
    now_s = 0.0
    for _ in range(400):  # four a second where one is allowed
        now_s += 0.25
        if one.over(10, now_s) is None:
            one.reserve(10, now_s)
    assert one.rate_demand_frac(now_s) == pytest.approx(4.0, rel=0.05)
    assert one.concurrent == 3
    assert one.concurrent_demand(now_s) > 10


def test_a_share_of_a_whole_number_is_a_whole_number() -> None:
    one = limits(max_concurrent=3)
    for share, allowed in [(1 / 3, 1), (0.99, 2), (1.0, 3), (0.0, 0)]:
        one.have_shares(rate=1.0, concurrent=share, now_s=0.0)
        assert one.concurrent_allowed == allowed


def test_a_share_is_held_as_long_as_its_requests_run() -> None:
    one = limits(max_concurrent=4)
    for _ in range(3):
        one.reserve(1, 0.0)
    one.have_shares(rate=1.0, concurrent=0.25, now_s=0.0)
    assert one.concurrent_share_held == 0.75
    one.settle(1, 1, 1.0)
    one.settle(1, 1, 1.0)
    assert one.concurrent_share_held == 0.25
