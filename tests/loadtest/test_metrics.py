"""The metric definitions: worked examples, and percentiles against the definition itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import metrics
from loadtest.metrics import Percentile, RequestSample, percentile

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def sample(**fields: object) -> RequestSample:
    """A successful request: sent at 10 s, content from 10.5 s to 12.5 s, 5 tokens in 3 chunks."""
    defaults: dict[str, object] = {
        "t_sched_s": 9.75,
        "t0_s": 10.0,
        "t1_s": 10.5,
        "tn_s": 12.5,
        "itl_us": (500_000, 1_500_000),
        "output_tokens": 5,
    }
    return RequestSample(**{**defaults, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        pytest.param([3, 1, 2], 50, 2, id="the middle of an odd number"),
        pytest.param([1, 2, 3, 4], 50, 2, id="the lower middle of an even number, not their mean"),
        pytest.param(range(1, 101), 99, 99, id="the 99th of 100"),
        pytest.param(range(1, 102), 99, 100, id="one sample more moves the rank up"),
        pytest.param(range(1, 1001), 99.9, 999, id="no rank too high from float rounding"),
        pytest.param([5, 6], 99, 6, id="few samples give the greatest"),
        pytest.param([5, 6], 100, 6, id="100 is the greatest"),
        pytest.param([7], 0.1, 7, id="one sample is every percentile"),
    ],
)
def test_percentile_is_nearest_rank(samples: list[float], percent: float, expected: float) -> None:
    assert percentile(samples, percent) == Percentile(expected, len(samples))


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile([], 99) is None


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_percent_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent must be in"):
        percentile([1.0], percent)


@given(st.lists(FINITE, min_size=1), st.integers(1, 100))
def test_percentile_is_the_smallest_sample_that_enough_are_not_above(
    samples: list[float], percent: int
) -> None:
    found = percentile(samples, percent)
    assert found is not None
    enough = [x for x in samples if 100 * sum(y <= x for y in samples) >= percent * len(samples)]
    assert found == Percentile(min(enough), len(samples))


def test_latencies_of_a_worked_example() -> None:
    assert metrics.ttft_s(sample()) == 0.5
    assert metrics.tpot_s(sample()) == 0.5  # 2 s over 4 intervals between 5 tokens
    assert metrics.e2e_s(sample()) == 2.5
    assert metrics.schedule_lag_s(sample()) == 0.25
    assert metrics.itls_s([sample()]) == [0.5, 1.5]  # of 3 chunks, however many tokens they hold


@pytest.mark.parametrize("tokens", [None, 0, 1])
def test_tpot_is_undefined_below_two_tokens(tokens: int | None) -> None:
    assert metrics.tpot_s(sample(output_tokens=tokens)) is None


def test_a_request_without_content_has_no_latency() -> None:
    silent = sample(t1_s=None, tn_s=None, itl_us=())
    assert metrics.ttft_s(silent) is metrics.tpot_s(silent) is metrics.e2e_s(silent) is None
    assert metrics.ttfts_s([silent]) == []


def test_failed_requests_belong_to_no_metric_but_their_time_counts() -> None:
    failed = sample(t0_s=8.0, t_sched_s=8.0, error="disconnected")
    assert metrics.ttfts_s([failed]) == metrics.itls_s([failed]) == []
    assert metrics.output_tokens([sample(), failed]) == 5
    assert metrics.output_tokens_per_s([sample(), failed]) == 5 / 4.5


def test_output_rate_of_nothing_is_zero() -> None:
    assert metrics.output_tokens_per_s([]) == 0
    assert metrics.output_tokens_per_s([sample(t1_s=None, tn_s=None)]) == 0


@pytest.mark.parametrize(
    ("cached", "prompt", "expected"),
    [(96, 128, 0.75), (0, 128, 0.0), (None, 128, None), (0, 0, None)],
)
def test_prefix_hit_needs_both_counts(
    cached: int | None, prompt: int, expected: float | None
) -> None:
    assert metrics.prefix_hit_frac(sample(cached_tokens=cached, prompt_tokens=prompt)) == expected
