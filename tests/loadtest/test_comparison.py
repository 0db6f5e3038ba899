"""Two runs compared: the values and their good direction, and how often equal servers differ."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrivals import Poisson, instants_s
from loadtest.comparison import Change, compare
from loadtest.metrics import itls_s, output_tokens, percentile, succeeded, ttfts_s
from loadtest.run_records import RequestRecord
from loadtest.slo import parse_slo
from tests.loadtest.made_records import missed, record
from tests.loadtest.simulated_server import served

SLO = parse_slo("ttft_p99=1s")
WINDOWS_S = (100.0, 100.0)
NOT_HURRIED = settings(deadline=None)  # an example is much work, on a busy machine too
METRICS = [
    *("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s"),
    *("itl_p50_s", "itl_p99_s", "e2e_p50_s", "e2e_p99_s"),
    *("output_tokens_per_s", "requests_per_s", "goodput_per_s", "error_rate", "right_frac"),
]
RECORDS = st.lists(
    st.builds(
        record,
        due_s=st.floats(0, 100),
        ttft_s=st.floats(0.001, 5),
        gap_s=st.floats(0.001, 1),
        tokens=st.integers(0, 6),
        error=st.sampled_from([None, None, "http 500: no"]),
        right=st.sampled_from([None, True, False]),
        warm_up=st.booleans(),
    ),
    max_size=40,
)


def steady(n: int = 200, **fields: object) -> list[RequestRecord]:
    """Requests evenly over 100 s, alike but for a little noise in their latency."""
    rng = Random(7)
    given_ttft_s = fields.pop("ttft_s", 0.1)
    assert isinstance(given_ttft_s, float)
    return [
        record(
            index * 100 / n,
            ttft_s=given_ttft_s * rng.uniform(0.9, 1.1),
            **{"right": True, **fields},  # type: ignore[arg-type]
        )
        for index in range(n)
    ]


def by_name(changes: list[Change]) -> dict[str, Change]:
    return {change.metric: change for change in changes}


def with_errors(records: list[RequestRecord], every: int) -> list[RequestRecord]:
    return [
        replace(r, sample=replace(r.sample, error="timeout"), right=None) if not i % every else r
        for i, r in enumerate(records)
    ]


def test_a_run_against_itself_is_noise_in_every_metric() -> None:
    changes = compare(steady(), steady(), WINDOWS_S, SLO)
    assert [change.metric for change in changes] == METRICS
    assert {change.verdict for change in changes} == {"noise"}
    assert {change.change for change in changes} == {0}


@pytest.mark.parametrize(
    ("other", "metric", "change_frac"),
    [
        pytest.param(steady(ttft_s=0.2), "ttft_p50_s", 1, id="a later first token"),
        pytest.param(steady(ttft_s=0.2), "ttft_p99_s", 1, id="also of the slowest"),
        pytest.param(steady(ttft_s=1.5), "goodput_per_s", -1, id="all too late to be good"),
        pytest.param(steady(gap_s=0.04), "tpot_p50_s", 1, id="slower tokens"),
        pytest.param(steady(gap_s=0.04), "itl_p99_s", 1, id="longer gaps"),
        pytest.param(steady(gap_s=0.04), "e2e_p50_s", 0.44, id="a later end"),
        pytest.param(steady(tokens=3), "output_tokens_per_s", -0.4, id="fewer tokens"),
        pytest.param(steady(n=100), "requests_per_s", -0.5, id="fewer requests"),
        pytest.param(with_errors(steady(), 4), "error_rate", None, id="failures"),
        pytest.param(steady(right=False), "right_frac", -1, id="wrong answers"),
    ],
)
def test_a_clear_change_is_worse_one_way_and_better_the_other(
    other: list[RequestRecord], metric: str, change_frac: float | None
) -> None:
    there = by_name(compare(steady(), other, WINDOWS_S, SLO))[metric]
    back = by_name(compare(other, steady(), WINDOWS_S, SLO))[metric]
    assert (there.verdict, back.verdict) == ("worse", "better")
    assert there.change_frac == (None if change_frac is None else pytest.approx(change_frac, 0.02))
    assert there.change is not None
    assert there.interval is not None
    assert there.interval.low <= there.change <= there.interval.high


@settings(NOT_HURRIED, max_examples=40)  # each draws the bootstrap of every metric three times
@given(RECORDS, RECORDS, st.integers(0, 3))
def test_values_are_those_of_the_metrics_and_sides_swap(
    a: list[RequestRecord], b: list[RequestRecord], seed: int
) -> None:
    changes = by_name(compare(a, b, (50, 100), SLO, seed))
    assert compare(a, b, (50, 100), SLO, seed) == list(changes.values())
    samples = [r.sample for r in a if not r.warm_up]
    for name, values, percent in (
        ("ttft_p50_s", ttfts_s(samples), 50),
        ("itl_p99_s", itls_s(samples), 99),
    ):
        expected = percentile(values, percent)
        if name in changes:
            assert changes[name].a == (expected.value if expected else None)
            assert changes[name].n_a == len(values)
    assert changes["output_tokens_per_s"].a == pytest.approx(output_tokens(samples) / 50)
    assert changes["requests_per_s"].a == pytest.approx(len(succeeded(samples)) / 50)
    back = by_name(compare(b, a, (100, 50), SLO, seed))
    assert {name: (c.b, c.n_b) for name, c in back.items()} == {
        name: (c.a, c.n_a) for name, c in changes.items()
    }


def test_missed_requests_are_errors_and_warm_up_is_nothing() -> None:
    warm_up = [record(index, error="cold", warm_up=True) for index in range(50)]
    with_missed = [*steady(), *(missed(index * 2) for index in range(50)), *warm_up]
    errors = by_name(compare(steady(), with_missed, WINDOWS_S))["error_rate"]
    assert (errors.a, errors.b, errors.n_b, errors.verdict) == (0, 0.2, 250, "worse")


def test_what_one_side_lacks_is_unknown_and_what_both_lack_is_left_out() -> None:
    failed = [record(index, error="http 503: no") for index in range(100)]
    changes = by_name(compare(steady(right=None), failed, WINDOWS_S))
    assert "right_frac" not in changes
    assert "goodput_per_s" not in changes
    ttft = changes["ttft_p99_s"]
    assert (ttft.b, ttft.change, ttft.interval, ttft.verdict) == (None, None, None, "unknown")
    assert changes["requests_per_s"].verdict == "worse"
    assert changes["requests_per_s"].b == 0
    assert changes["error_rate"].verdict == "worse"


def test_too_few_blocks_with_samples_give_no_verdict() -> None:
    few = [record(0.1 * index, ttft_s=3) for index in range(200)]  # all in the first 20 s
    ttft = by_name(compare(steady(), few, WINDOWS_S))["ttft_p50_s"]
    assert ttft.b == 3
    assert ttft.verdict == "unknown"


def test_nothing_against_nothing_is_two_rates_of_0() -> None:
    changes = compare([], [], WINDOWS_S)
    assert [(c.metric, c.a, c.b, c.verdict) for c in changes] == [
        ("output_tokens_per_s", 0, 0, "noise"),
        ("requests_per_s", 0, 0, "noise"),
    ]


def test_a_window_must_have_a_length() -> None:
    with pytest.raises(ValueError, match="a window must be above 0 s, not 0"):
        compare([], [], (1, 0))


def test_two_runs_of_one_queue_seldom_differ_and_a_slower_server_does() -> None:
    """At half load the requests of a busy moment wait together: drawn one by one, two runs of one
    server would differ in every other pair."""
    rounds, wrong, found = 24, 0, 0
    for seed in range(rounds):
        due_s = instants_s(Poisson(rate_per_s=5), 100, seed)
        a, again = (served(due_s, Random(f"{seed} {side}")) for side in "ab")
        slower = served(due_s, Random(f"{seed} c"), mean_s=0.15)
        wrong += by_name(compare(a, again, WINDOWS_S))["ttft_p99_s"].verdict != "noise"
        found += by_name(compare(a, slower, WINDOWS_S))["ttft_p99_s"].verdict == "worse"
    assert wrong <= 4
    assert found >= 0.8 * rounds
