"""SLOs: the grammar there and back, which requests are good, and whether a run met each clause."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from loadtest.intervals import wilson
from loadtest.metrics import percentile
from loadtest.run_records import RequestRecord
from loadtest.slo import PRESETS, Clause, Slo, attainment, evaluate, good_under, parse_slo
from loadtest.slo_text import LatencyBound
from tests.loadtest.made_records import missed, record

SHARES = st.floats(0, 1)
TIMES_S = st.floats(1e-6, 1e5)
CLAUSES = st.dictionaries(
    st.tuples(st.sampled_from(["ttft", "tpot", "itl", "e2e"]), st.integers(1, 100_000)).map(
        lambda key: f"{key[0]}_p{key[1] / 1000:g}_s"
    ),
    TIMES_S,
)
MAPPINGS = st.builds(
    lambda latencies, others: latencies | others,
    CLAUSES,
    st.fixed_dictionaries(
        {}, optional={"error_rate": SHARES, "attainment_min": SHARES, "goodput_per_s_min": TIMES_S}
    ),
).filter(bool)
RECORDS = st.lists(
    st.builds(
        record,
        ttft_s=st.floats(0.001, 5),
        gap_s=st.floats(0.001, 1),
        tokens=st.integers(0, 6),
        error=st.sampled_from([None, None, "http 500: no"]),
        warm_up=st.booleans(),
    ),
    max_size=30,
)


def test_text_and_mapping_say_the_same() -> None:
    text = parse_slo("ttft_p99=500ms, tpot_p99=0.05s, error_rate=1%, attainment_min=99%")
    mapping = {"ttft_p99_ms": 500, "tpot_p99_ms": 50, "error_rate": 0.01, "attainment_min": 0.99}
    assert text == parse_slo(mapping)
    assert text.bounds == (LatencyBound("ttft", 99, 0.5), LatencyBound("tpot", 99, 0.05))
    assert text.text() == "ttft_p99=500ms,tpot_p99=50ms,error_rate=0.01,attainment_min=0.99"


@given(MAPPINGS)
def test_what_an_slo_writes_it_reads_again(mapping: dict[str, float]) -> None:
    slo = parse_slo(mapping)
    assert parse_slo(slo.text()) == slo
    assert parse_slo(slo.mapping()) == slo
    assert Slo.model_validate_json(slo.model_dump_json()) == slo
    assert {bound.name: bound.bound_s for bound in slo.bounds} == {
        key.removesuffix("_s"): value for key, value in mapping.items() if "_p" in key[:6]
    }


def test_a_scenario_holds_an_slo_in_either_form() -> None:
    class Scenario(BaseModel):
        slo: Slo | None = None

    wanted = parse_slo("e2e_p50=2s")
    assert Scenario.model_validate({"slo": {"e2e_p50_s": 2}}).slo == wanted
    assert Scenario.model_validate({"slo": "e2e_p50=2s"}).slo == wanted
    assert Scenario(slo=wanted).model_dump() == {"slo": {"e2e_p50": "2000ms"}}


def test_a_preset_takes_other_clauses_and_loses_to_them() -> None:
    assert parse_slo("llama-2-70b-interactive") == parse_slo("ttft_p99=450ms,tpot_p99=40ms")
    slo = parse_slo({"ttft_p99_ms": 300, "preset": "llama-2-70b-interactive", "error_rate": 0})
    assert slo == parse_slo("ttft_p99=300ms,tpot_p99=40ms,error_rate=0")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_bounds_the_first_token_and_the_others(name: str) -> None:
    assert [bound.name for bound in parse_slo(name).bounds] == ["ttft_p99", "tpot_p99"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param("", "at least one clause", id="nothing"),
        pytest.param({}, "at least one clause", id="an empty mapping"),
        pytest.param("ttft_p99=500", "ttft_p99: '500' is not a time with its unit", id="no unit"),
        pytest.param("ttft_p99=5m", "'5m' is not a time", id="another unit"),
        pytest.param("ttft_p99=0ms", "'0' must be above 0", id="no time"),
        pytest.param("ttft_p99=1e999s", "'1e999' is not a number", id="an infinite time"),
        pytest.param("ttft_p0=5ms", "percent must be in", id="the 0th percentile"),
        pytest.param("ttft_p101=5ms", "percent must be in", id="above the 100th"),
        pytest.param("lag_p99=5ms", "lag_p99: is no clause; there are <ttft", id="no metric"),
        pytest.param("error_rate=2", "'2' is not a share", id="more than all"),
        pytest.param("gpt", "there is no 'gpt'; there are llama", id="no preset"),
        pytest.param({"ttft_p99_ms": True}, "True is not a number", id="a bool"),
        pytest.param({"ttft_p99_ms": None}, "None is not a number", id="an empty value"),
        pytest.param("ttft_p99=1s,ttft_p99_ms=5", "ttft_p99_ms: is given twice", id="twice"),
        pytest.param("ttft=1,itl=2", "ttft: .*; itl: ", id="all mistakes at once"),
        pytest.param([], r"is text or a mapping, not \[\]", id="a list"),
    ],
)
def test_a_wrong_slo_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_slo(data)
    assert not isinstance(caught.value, ValidationError)
    with pytest.raises(ValidationError, match=message):
        Slo.model_validate(data)


@pytest.mark.parametrize(
    ("request_record", "good"),
    [
        pytest.param(record(ttft_s=0.5, gap_s=0.05), True, id="on its bounds"),
        pytest.param(record(ttft_s=0.51), False, id="a late first token"),
        pytest.param(record(gap_s=0.051), False, id="slow tokens"),
        pytest.param(record(error="disconnected"), False, id="failed"),
        pytest.param(missed(), False, id="never sent"),
        pytest.param(record(tokens=1, gap_s=9), True, id="one token passes by its first"),
        pytest.param(record(tokens=1, ttft_s=0.6), False, id="or fails by it"),
        pytest.param(record(tokens=0), False, id="no content is no first token"),
        pytest.param(record(ttft_s=0.4, lag_s=3), True, id="its wait in the client is not counted"),
    ],
)
def test_a_good_request_is_within_all_bounds(request_record: RequestRecord, good: bool) -> None:
    slo = parse_slo("ttft_p99=500ms,tpot_p99=50ms,itl_p99=60ms")
    assert good_under(slo)(request_record.sample) is good


def test_a_request_is_held_to_the_bound_of_the_highest_percentile() -> None:
    slo = parse_slo("e2e_p99=4s,e2e_p50=1s")
    assert good_under(slo)(record(ttft_s=3.9, tokens=1).sample)
    assert not good_under(slo)(record(ttft_s=4.1, tokens=1).sample)


def test_without_bounds_a_request_is_good_when_it_succeeded() -> None:
    slo = parse_slo("error_rate=1%")
    assert good_under(slo)(record(tokens=0).sample)
    assert not good_under(slo)(record(error="timeout").sample)


@given(
    st.lists(st.integers(1, 10**6), max_size=12), st.sampled_from([50, 90, 99]), st.floats(1e-6, 1)
)
def test_a_request_is_held_to_the_percentile_of_its_own_gaps(
    gaps_us: list[int], percent: int, bound_s: float
) -> None:
    sample = replace(record().sample, itl_us=tuple(gaps_us))
    found = percentile([gap_us / 1e6 for gap_us in gaps_us], percent)
    expected = found is None or found.value <= bound_s
    assert good_under(parse_slo({f"itl_p{percent}_s": bound_s}))(sample) is expected


@given(RECORDS, st.floats(0.001, 5))
def test_attainment_is_of_all_offered_and_rises_with_the_bound(
    records: list[RequestRecord], bound_s: float
) -> None:
    strict, loose = (parse_slo({"ttft_p99_s": bound}) for bound in (bound_s, 2 * bound_s))
    found = attainment(records, strict)
    assert found.offered == sum(not r.warm_up for r in records)
    assert found.interval == wilson(found.good, found.offered)
    assert found.good <= attainment(records, loose).good <= found.offered
    assert attainment([*records, missed()], strict)[:2] == (found.good, found.offered + 1)


def test_every_clause_is_evaluated_with_its_value_and_n() -> None:
    records = [record(ttft_s=index / 100, tokens=1) for index in range(1, 99)]
    records += [record(error="http 503: busy"), missed(), record(ttft_s=9, warm_up=True)]
    slo = parse_slo(
        "ttft_p50=0.4s,ttft_p99=1s,tpot_p99=1s,error_rate=2%,attainment_min=99%,goodput_per_s_min=9"
    )
    assert evaluate(records, slo, window_s=10) == [
        Clause("ttft_p50", 0.4, 0.49, 98, False),
        Clause("ttft_p99", 1, 0.98, 98, True),
        Clause("tpot_p99", 1, None, 0, False),
        Clause("error_rate", 0.02, 0.02, 100, True),
        Clause("attainment_min", 0.99, 0.98, 100, False),
        Clause("goodput_per_s_min", 9, 9.8, 100, True),
    ]


@given(RECORDS, st.sampled_from([50, 90, 99, 99.9]), st.floats(0.001, 5))
def test_a_latency_clause_is_the_percentile_of_what_succeeded(
    records: list[RequestRecord], percent: float, bound_s: float
) -> None:
    [clause] = evaluate(records, parse_slo({f"itl_p{percent}_s": bound_s}), window_s=1)
    gaps_s = [
        gap_us / 1e6
        for r in records
        if not r.warm_up and r.sample.error is None
        for gap_us in r.sample.itl_us
    ]
    expected = percentile(gaps_s, percent)
    assert clause.n == len(gaps_s)
    assert clause.value == (expected.value if expected else None)
    assert clause.met == (expected is not None and expected.value <= bound_s)


def test_nothing_measured_meets_no_clause() -> None:
    slo = parse_slo("ttft_p99=1s,error_rate=1,attainment_min=0,goodput_per_s_min=1")
    assert [clause.met for clause in evaluate([], slo, window_s=1)] == [False] * 4
