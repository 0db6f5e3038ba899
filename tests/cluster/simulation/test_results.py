"""The numbers of a run, by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.records import Record, Run, Sample
from cluster.simulation.results import Imbalance, document, imbalance, latency, result
from loadtest.metrics import percentile

SAMPLES = [
    Sample(at_s=at_s, tokens=tokens, prefill_tokens=(tokens[0], 0), busy_s=(at_s, at_s))
    for at_s, tokens in ((0.0, (0, 0)), (5.0, (10, 30)), (10.0, (40, 60)))
]


def record(arrival_s: float, first_s: float | None, end_s: float | None, **more: object) -> Record:
    sizes = {"prompt_tokens": 100, "output_tokens": 11, "engine": 0, "gateway": 0} | more
    return Record(arrival_s=arrival_s, first_token_s=first_s, end_s=end_s, **sizes)  # type: ignore[arg-type]


def made() -> Run:
    records = [
        record(1.0, 2.0, 7.0, cached_tokens=50),
        record(2.0, 5.0, 9.0, preemptions=2),
        record(3.0, 9.5, None),
        record(4.0, None, None, failed="too long"),
    ]
    return Run(records=records, samples=SAMPLES)


def test_a_small_run() -> None:
    found = result("random", made())
    assert (found.requests, found.done, found.failed, found.in_flight) == (4, 2, 1, 1)
    assert found.hit_frac == 50 / 300
    assert found.span_s == 8.0
    assert found.completed_rps == 2 / 8
    assert found.output_tokens_per_s == 22 / 8
    assert found.preemptions == 2
    assert (found.ttft_s.n, found.ttft_s.p50, found.ttft_s.p99) == (3, 3.0, 6.5)
    assert (found.tpot_s.n, found.tpot_s.p50, found.tpot_s.p90) == (2, 0.4, 0.5)
    assert (found.e2e_s.p50, found.e2e_s.mean) == (6.0, 6.5)
    assert found.imbalance == Imbalance(tokens=1.2, prefill_tokens=2.0, busy_s=1.0)


def test_the_timeline_holds_everything_once() -> None:
    timeline = result("random", made()).timeline
    width_s = 10.0 / len(timeline.at_s)
    assert sum(timeline.output_tokens_per_s) * width_s == pytest.approx(22)
    known = [frac for frac in timeline.hit_frac if frac is not None]
    assert sorted(known) == [0.0, 0.0, 0.5]
    assert {share for share in timeline.imbalance if share is not None} == {1.5, 1.0}


def test_a_run_in_which_nothing_happened_has_no_numbers_and_is_still_json() -> None:
    idle = Sample(at_s=0.0, tokens=(0, 0), prefill_tokens=(0, 0), busy_s=(0.0, 0.0))
    found = result("random", Run(records=[], samples=[idle]))
    assert (found.hit_frac, found.ttft_s.p50, found.imbalance.tokens) == (None, None, None)
    assert json.loads(json.dumps(document([found], trace="t"), allow_nan=False))["results"]


def test_a_document_has_a_version_and_says_what_was_run() -> None:
    text = document([result("random", made())], trace="t", seed=3)
    assert (text["schema_version"], text["trace"], text["seed"]) == (1, "t", 3)
    assert text["results"][0]["policy"] == "random"


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_a_load_tests(values: list[float]) -> None:
    found = latency(values)
    for percent, value in ((50, found.p50), (90, found.p90), (99, found.p99)):
        expected = percentile(values, percent)
        assert expected is not None
        assert value == expected.value


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_imbalance_is_at_least_one_and_at_most_all_on_one(values: list[int]) -> None:
    found = imbalance(values)
    if sum(values):
        assert found is not None
        assert 1 - 1e-9 <= found <= len(values) + 1e-9
    else:
        assert found is None
