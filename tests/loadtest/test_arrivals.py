"""Arrival processes: rates and burstiness within statistical bounds, seeds, scaling, bad input.

Counts are held to six standard deviations: a right implementation fails once in 10^8 examples.
"""

from itertools import pairwise
from math import inf, nan, sqrt
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from loadtest.arrival_process import Process
from loadtest.arrivals import Arrivals, Constant, Gamma, Poisson, Trace, instants_s, scaled
from loadtest.varying_arrivals import OneRate, Ramp, Sinusoid, Step

ADAPTER: TypeAdapter[Any] = TypeAdapter(Arrivals)
SIGMAS = 6
NOT_HURRIED = settings(deadline=None)  # an example is much work, on a busy machine too

PINNED_POISSON = [0.697059, 3.185962, 3.435799, 3.953837]
PINNED_GAMMA = [
    1.829,
    1.833001,
    1.874174,
    2.003711,
    2.009182,
    2.009349,
    2.036055,
    2.169954,
    2.400102,
    2.662206,
    2.678528,
    6.599947,
    6.599947,
    6.606087,
    6.973858,
]

RATES = st.floats(0.1, 50)
SEEDS = st.integers(0, 2**64)
DURATIONS_S = st.floats(0.5, 200)
STEPS = st.builds(OneRate, rate_per_s=st.floats(0, 50), for_s=st.floats(0.1, 100))
PROCESSES = st.one_of(
    st.builds(Constant, rate_per_s=RATES),
    st.builds(Poisson, rate_per_s=RATES),
    st.builds(Gamma, rate_per_s=RATES, cv=st.floats(0.1, 5)),
    st.builds(Ramp, from_per_s=st.floats(0, 50), to_per_s=RATES),
    st.builds(
        Step, steps=st.tuples(st.builds(OneRate, rate_per_s=RATES, for_s=st.just(3.0)), STEPS)
    ),
    RATES.flatmap(
        lambda mean: st.builds(
            Sinusoid,
            mean_per_s=st.just(mean),
            amplitude_per_s=st.floats(0, mean),
            period_s=st.floats(1, 100),
        )
    ),
    st.builds(
        Trace,
        at_s=st.lists(st.floats(0, 100), min_size=1).map(tuple),
        speed_up=st.floats(0.1, 10),
    ),
)


def gaps_s(instants: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(instants)]


def cv(instants: list[float]) -> float:
    return pstdev(gaps_s(instants)) / fmean(gaps_s(instants))


@NOT_HURRIED
@given(PROCESSES, DURATIONS_S, SEEDS)
def test_instants_are_sorted_within_the_load_and_the_seeds_own(
    process: Process, duration_s: float, seed: int
) -> None:
    instants = instants_s(process, duration_s, seed)
    assert instants == sorted(instants)
    assert all(0 <= at_s < duration_s for at_s in instants)
    assert instants == instants_s(process, duration_s, seed)


@pytest.mark.parametrize(
    "process", [Poisson(rate_per_s=5), Gamma(rate_per_s=5, cv=2), Ramp(from_per_s=0, to_per_s=10)]
)
def test_another_seed_gives_other_instants(process: Process) -> None:
    assert instants_s(process, 60, 1) != instants_s(process, 60, 2)


def test_a_seed_means_the_same_instants_on_every_machine() -> None:
    poisson = instants_s(Poisson(rate_per_s=1), 4, seed=7)
    assert poisson == pytest.approx(PINNED_POISSON, abs=1e-6)
    gamma = instants_s(Gamma(rate_per_s=1, cv=2), 8, seed=7)
    assert gamma == pytest.approx(PINNED_GAMMA, abs=1e-6)


@NOT_HURRIED
@given(RATES, DURATIONS_S)
def test_constant_arrivals_are_evenly_spaced_from_0(rate_per_s: float, duration_s: float) -> None:
    instants = instants_s(Constant(rate_per_s=rate_per_s), duration_s, seed=0)
    assert instants[0] == 0
    assert gaps_s(instants) == pytest.approx([1 / rate_per_s] * (len(instants) - 1))
    assert duration_s - instants[-1] <= 1 / rate_per_s * (1 + 1e-9)


@NOT_HURRIED
@given(RATES, SEEDS)
def test_poisson_has_its_rate_and_a_cv_of_1(rate_per_s: float, seed: int) -> None:
    instants = instants_s(Poisson(rate_per_s=rate_per_s), 2000 / rate_per_s, seed)
    assert abs(len(instants) - 2000) < SIGMAS * sqrt(2000)
    assert cv(instants) == pytest.approx(1, abs=SIGMAS * sqrt(1 / 2000))  # sd of the CV: 1 / √n


@NOT_HURRIED
@given(st.floats(0.1, 3), SEEDS)
def test_gamma_has_its_rate_and_its_cv(wanted_cv: float, seed: int) -> None:
    instants = instants_s(Gamma(rate_per_s=10, cv=wanted_cv), 500, seed)
    # A renewal process: the variance of the count tends to n CV² (Cox, Renewal Theory, 1962).
    assert abs(len(instants) - 5000) < SIGMAS * (wanted_cv * sqrt(5000) + 1)
    # Of a gamma's sample CV, from its skewness 2 CV and kurtosis 3 + 6 CV² (delta method).
    sd = wanted_cv * sqrt((0.5 + wanted_cv**2) / 5000) * (1 + wanted_cv)
    assert cv(instants) == pytest.approx(wanted_cv, abs=SIGMAS * sd)


def test_gamma_has_its_rate_from_the_start_on() -> None:
    """Without the first gap cut short, bursty arrivals would come (CV² - 1) / 2 = 4 too many."""
    counts = [len(instants_s(Gamma(rate_per_s=1, cv=3), 10, seed)) for seed in range(4000)]
    assert fmean(counts) == pytest.approx(10, abs=SIGMAS * pstdev(counts) / sqrt(4000))


@NOT_HURRIED
@given(st.floats(0, 50), st.floats(1, 50), SEEDS)
def test_a_ramp_has_on_each_half_what_its_line_says(
    from_per_s: float, to_per_s: float, seed: int
) -> None:
    instants = instants_s(Ramp(from_per_s=from_per_s, to_per_s=to_per_s), 100, seed)
    first = sum(at_s < 50 for at_s in instants)
    expected = 50 * (3 * from_per_s + to_per_s) / 4, 50 * (from_per_s + 3 * to_per_s) / 4
    for count, mean in zip((first, len(instants) - first), expected, strict=True):
        assert abs(count - mean) < SIGMAS * sqrt(mean) + SIGMAS


@NOT_HURRIED
@given(SEEDS)
def test_steps_repeat_and_a_pause_has_no_arrivals(seed: int) -> None:
    steps = (OneRate(rate_per_s=40, for_s=3), OneRate(rate_per_s=0, for_s=7))
    instants = instants_s(Step(steps=steps), 95, seed)
    assert all(at_s % 10 < 3 for at_s in instants)
    for burst in range(10):
        count = sum(burst * 10 <= at_s < burst * 10 + 10 for at_s in instants)
        assert abs(count - 120) < SIGMAS * sqrt(120)


@NOT_HURRIED
@given(SEEDS)
def test_a_sinusoid_is_high_in_its_first_half_and_low_in_its_second(seed: int) -> None:
    process = Sinusoid(mean_per_s=40, amplitude_per_s=40, period_s=10)
    instants = instants_s(process, 50, seed)
    high = sum(at_s % 10 < 5 for at_s in instants)
    # The integral of mean + amplitude sin over half a period: mean T/2 + amplitude T/π.
    expected = 5 * (40 * 5 + 40 * 10 / 3.14159265)
    assert abs(high - expected) < SIGMAS * sqrt(expected)
    assert abs(len(instants) - 2000) < SIGMAS * sqrt(2000)


@NOT_HURRIED
@given(SEEDS)
def test_a_varying_rate_that_does_not_vary_is_poisson(seed: int) -> None:
    plain = instants_s(Poisson(rate_per_s=7), 20, seed)
    for process in (
        Ramp(from_per_s=7, to_per_s=7),
        Step(steps=(OneRate(rate_per_s=7, for_s=11),)),
        Sinusoid(mean_per_s=7, amplitude_per_s=0, period_s=13),
    ):
        assert instants_s(process, 20, seed) == pytest.approx(plain, rel=1e-9)


def test_a_trace_is_played_at_its_speed_up_to_the_end_of_the_load() -> None:
    trace = Trace(at_s=(4.0, 0.0, 9.0, 10.0), speed_up=2)
    assert instants_s(trace, 5, seed=0) == [0, 2, 4.5]


@NOT_HURRIED
@given(PROCESSES, RATES)
def test_scaling_gives_the_rate_that_was_asked_for(process: Process, rate_per_s: float) -> None:
    if isinstance(process, Trace) and max(process.at_s) < 1e-6:  # it has no finite rate
        return
    assert scaled(process, rate_per_s).average_per_s() == pytest.approx(rate_per_s)


@NOT_HURRIED
@given(PROCESSES, st.floats(0.1, 10), SEEDS)
def test_scaling_keeps_a_shape_without_a_length_of_its_own(
    process: Process, factor: float, seed: int
) -> None:
    if isinstance(process, Step | Sinusoid):  # their periods stay what they are
        return
    original = instants_s(process, 40, seed)
    faster = instants_s(process.times(factor), 40 / factor, seed)
    # What falls on the end may round to either side of it.
    assert abs(len(original) - len(faster)) <= sum(at_s > 40 * (1 - 1e-9) for at_s in original) + 1
    shared = min(len(original), len(faster))
    assert [at_s * factor for at_s in faster[:shared]] == pytest.approx(original[:shared])


@NOT_HURRIED
@given(PROCESSES)
def test_a_scenario_holds_every_process_as_plain_data(process: Process) -> None:
    dumped = process.model_dump(mode="json")
    assert ADAPTER.validate_python(dumped) == process
    assert ADAPTER.validate_json(process.model_dump_json()) == process


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param({"kind": "poisson", "rate_per_s": 0}, "greater than 0", id="no rate"),
        pytest.param({"kind": "poisson", "rate_per_s": inf}, "finite", id="infinite"),
        pytest.param({"kind": "poisson", "rate_per_s": nan}, "finite", id="not a number"),
        pytest.param({"kind": "poisson", "rate_per_s": "4"}, "valid number", id="text"),
        pytest.param({"kind": "poisson", "rate": 4}, "Extra inputs", id="another name"),
        pytest.param({"kind": "gamma", "rate_per_s": 4, "cv": 0}, "0.01", id="no burstiness"),
        pytest.param({"kind": "closed"}, "'closed'", id="no arrival process"),
        pytest.param({"rate_per_s": 4}, "kind", id="no kind"),
        pytest.param(
            {"kind": "ramp", "from_per_s": 0, "to_per_s": 0}, "both 0", id="a ramp of nothing"
        ),
        pytest.param({"kind": "step", "steps": []}, "at least 1", id="no steps"),
        pytest.param(
            {"kind": "step", "steps": [{"rate_per_s": 0, "for_s": 1}]}, "rate 0", id="all pauses"
        ),
        pytest.param(
            {"kind": "sinusoid", "mean_per_s": 1, "amplitude_per_s": 2, "period_s": 9},
            "amplitude_per_s 2 is above mean_per_s 1",
            id="below 0",
        ),
        pytest.param({"kind": "trace", "at_s": [-1.0]}, "greater than or equal to 0", id="past"),
    ],
)
def test_wrong_data_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(data)


@pytest.mark.parametrize("value", [0, -1, inf, nan])
def test_durations_and_rates_must_be_above_0_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match="duration_s must be above 0"):
        instants_s(Poisson(rate_per_s=1), value, seed=0)
    with pytest.raises(ValueError, match="rate_per_s must be above 0"):
        scaled(Poisson(rate_per_s=1), value)


def test_a_trace_that_is_over_at_once_has_no_rate() -> None:
    with pytest.raises(ValueError, match="last instant is 0 s has no finite rate"):
        scaled(Trace(at_s=(0.0, 0.0)), 1)
    with pytest.raises(ValueError, match="e-324 s has no finite rate"):
        scaled(Trace(at_s=(5e-324,)), 1)
