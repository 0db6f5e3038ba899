"""What is shown of a run while it goes on."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.metrics import RequestSample, percentile
from loadtest.runtime.live import Histogram, Tally
from loadtest.runtime.progress import line
from loadtest.runtime.web_tab import rows

SAMPLE = RequestSample(
    t_sched_s=0, t0_s=0, t1_s=0.1, tn_s=0.3, itl_us=(50_000, 150_000), output_tokens=3
)
FAILED = RequestSample(t_sched_s=0, t0_s=0, t1_s=0.1, tn_s=0.3, error="cut")


def tally(*samples: RequestSample, missed: int = 0) -> Tally:
    made = Tally(offered=len(samples) + missed, missed=missed)
    for sample in samples:
        made.ended(sample)
    return made


@given(st.lists(st.floats(0.001, 100), min_size=1), st.integers(1, 100))
def test_a_histograms_percentile_is_within_its_rounding(values_s: list[float], p: int) -> None:
    histogram = Histogram()
    histogram.add_s(values_s)
    exact = percentile(values_s, p)
    found = histogram.percentile_ms(p)
    assert exact is not None
    assert found is not None
    assert abs(found / 1e3 - exact.value) <= 0.005 * exact.value


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile_ms(99) is None


def test_a_failed_request_has_no_latency() -> None:
    made = tally(SAMPLE, FAILED)
    assert (made.done, made.failed, made.in_flight, made.output_tokens) == (1, 1, 0, 3)
    assert dict(made.ttft.counts) == {100.0: 1}
    assert dict(made.tpot.counts) == {100.0: 1}
    assert dict(made.itl.counts) == {50.0: 1, 150.0: 1}


def test_tallies_add_up_and_travel() -> None:
    whole = Tally()
    whole.add(Tally.of_message(tally(SAMPLE, missed=2).to_message()))
    whole.add(tally(SAMPLE, FAILED))
    assert whole == tally(SAMPLE, SAMPLE, FAILED, missed=2)


def test_attainment_is_of_those_that_were_judged() -> None:
    whole = tally(SAMPLE, FAILED, missed=1)
    assert value_of(whole) == ("", 0), "there is no objective"
    for good in (True, True, False, None):
        whole.judge(good)
    whole.add(Tally.of_message(Tally(judged=1, good=0).to_message()))
    assert value_of(whole) == ("50.0%", 4)


def value_of(tally: Tally) -> tuple[str, int]:
    (row,) = [row for row in rows(tally) if row["name"] == "SLO attainment"]
    return row["value"], row["n"]


def test_the_line_says_rates_of_its_own_interval() -> None:
    whole = tally(SAMPLE, SAMPLE, FAILED, missed=1)
    whole.offered += 2
    assert line(30.2, whole, tally(SAMPLE), 0.5) == (
        "    30 s  offered 6 (2.0/s)  in flight 2  done 2  errors 1  missed 1"
        "  TTFT p50 100 p99 100 ms  6 tokens/s"
    )
    assert "TTFT p50 - p99 - ms" in line(1, Tally(), Tally(), 1)
