"""Valid runs: the client's lag against the TTFT bound, and enough samples for every clause."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.run_records import RequestRecord
from loadtest.slo import parse_slo
from loadtest.validity import invalid_reasons, lag_limit_s, least_samples
from tests.loadtest.made_records import missed, record

SLO = parse_slo("ttft_p99=500ms")


def lagging(n: int, late: int, lag_s: float) -> list[RequestRecord]:
    return [record(lag_s=lag_s if index < late else 0.0) for index in range(n)]


def kinds(records: list[RequestRecord], slo_text: str | None = None) -> list[str]:
    slo = None if slo_text is None else parse_slo(slo_text)
    return [reason.kind for reason in invalid_reasons(records, slo)]


@pytest.mark.parametrize(
    ("records", "slo_text", "limited"),
    [
        pytest.param(lagging(200, 3, 0.026), "ttft_p99=500ms", True, id="above 5 % of 500 ms"),
        pytest.param(lagging(200, 3, 0.024), "ttft_p99=500ms", False, id="below it"),
        pytest.param(lagging(200, 2, 9), "ttft_p99=500ms", False, id="the late ones above p99"),
        pytest.param(lagging(200, 3, 0.09), "ttft_p99=2s", False, id="a loose bound"),
        pytest.param(lagging(200, 3, 0.11), "ttft_p99=2s", True, id="above 5 % of it"),
        pytest.param(lagging(200, 3, 0.026), "tpot_p99=1s", True, id="25 ms without a bound"),
        pytest.param(lagging(200, 3, 0.026), None, True, id="and without an SLO"),
        pytest.param(lagging(200, 3, 0.024), None, False, id="below 25 ms"),
        pytest.param(
            [*lagging(200, 0, 0), *[record(lag_s=9, warm_up=True)] * 9], None, False, id="warm-up"
        ),
    ],
)
def test_a_client_that_sends_late_limits_the_run(
    records: list[RequestRecord], slo_text: str | None, limited: bool
) -> None:
    assert kinds(records, slo_text) == (["client-limited"] if limited else [])


def test_the_reason_has_its_numbers() -> None:
    [reason] = invalid_reasons(lagging(200, 3, 0.0314), SLO)
    assert reason.text == (
        "schedule lag p99 31.4 ms (n=200) is above 25.0 ms: the client sent late"
    )
    [reason] = invalid_reasons(lagging(99, 0, 0), SLO)
    assert reason.text == "ttft_p99 needs at least 100, not 99"


def test_a_missed_request_has_no_lag() -> None:
    assert kinds([*[missed()] * 50, *lagging(200, 0, 0)]) == []


@pytest.mark.parametrize(
    ("n", "slo_text", "enough"),
    [
        pytest.param(100, "ttft_p99=1s", True, id="100 for a p99"),
        pytest.param(99, "ttft_p99=1s", False, id="one fewer"),
        pytest.param(1000, "ttft_p99.9=1s", True, id="1,000 for a p99.9"),
        pytest.param(999, "ttft_p99.9=1s", False, id="one fewer still"),
        pytest.param(2, "ttft_p50=1s", True, id="two for a median"),
        pytest.param(1, "ttft_p100=1s", True, id="one for the greatest"),
        pytest.param(0, "ttft_p100=1s", False, id="but not none"),
        pytest.param(25, "itl_p99=1s", True, id="four gaps a request"),
        pytest.param(24, "itl_p99=1s", False, id="96 gaps"),
        pytest.param(20, "attainment_min=95%", True, id="one of 20 is 5 %"),
        pytest.param(19, "attainment_min=95%", False, id="one of 19 is more"),
        pytest.param(1, "attainment_min=1", True, id="every one counts"),
        pytest.param(5, "error_rate=0.1%", True, id="an error rate is taken as it is"),
        pytest.param(100, None, True, id="100 without an SLO"),
        pytest.param(99, None, False, id="fewer without an SLO"),
    ],
)
def test_a_clause_needs_so_many_samples(n: int, slo_text: str | None, enough: bool) -> None:
    assert kinds([record() for _ in range(n)], slo_text) == ([] if enough else ["too few samples"])


def test_failures_are_a_breach_not_a_lack_of_samples() -> None:
    assert kinds([record(error="http 500: no")] * 100, "ttft_p99=1s,tpot_p99=1s,itl_p99=1s") == []


def test_replies_of_one_token_say_nothing_of_tpot() -> None:
    assert kinds([record(tokens=1)] * 100, "ttft_p99=1s,tpot_p99=1s") == ["too few samples"]


@given(st.fractions(Fraction(1, 10_000), 1))
def test_the_least_samples_are_the_first_of_which_the_share_is_one(beyond: Fraction) -> None:
    n = least_samples(beyond)
    assert n * beyond >= 1 > (n - 1) * beyond


def test_the_limit_follows_the_bound_that_requests_are_held_to() -> None:
    assert lag_limit_s(parse_slo("ttft_p50=100ms,ttft_p99=2s")) == pytest.approx(0.1)
    assert lag_limit_s(None) == 0.025
