"""Many equal steps at once end when the same steps one by one would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.roofline import GPUS, MODELS, Efficiency, Roofline
from cluster.simulation.segment import Segment, later
from cluster.simulation.step_time import Fitted, StepTime, StepWork

LINEAR = Fitted(base_s=0.01, decode_request_s=1e-4, context_token_s=1e-7)
ROOFLINE = Roofline(GPUS["H100"], MODELS["Llama-3.1-8B"])
# At a hundredth of the peak, reading and computing cross within the range.
CROSSING = Roofline(GPUS["H100"], MODELS["Llama-3.1-8B"], efficiency=Efficiency(compute_frac=1e-2))


def ends_s(step_time: StepTime, work: StepWork, steps: int) -> list[float]:
    ends, now_s = [], 0.0
    for step in range(steps):
        now_s += step_time.step_s(later(work, step))
        ends.append(now_s)
    return ends


@settings(max_examples=150, deadline=None)
@given(
    step_time=st.sampled_from([LINEAR, ROOFLINE, CROSSING]),
    decodes=st.integers(1, 200),
    context=st.integers(200, 200_000),
    steps=st.integers(1, 500),
)
def test_each_of_its_steps_ends_when_it_would_alone(
    step_time: StepTime, decodes: int, context: int, steps: int
) -> None:
    work = StepWork(decode_requests=decodes, context_tokens=context)
    segment = Segment(step_time, work, steps, 0.0)
    assert 1 <= segment.steps <= steps
    expected_s = ends_s(step_time, work, segment.steps)
    found_s = [segment.after_s(step + 1) for step in range(segment.steps)]
    assert found_s == pytest.approx(expected_s, rel=1e-8)


def test_it_ends_before_reading_and_computing_change_places() -> None:
    work = StepWork(decode_requests=3, context_tokens=1000)
    kinks = [Segment(CROSSING, work, 10**6, 0.0).steps, Segment(ROOFLINE, work, 10**6, 0.0).steps]
    assert kinks[0] < kinks[1] == 10**6


@settings(max_examples=100, deadline=None)
@given(now_s=st.floats(0, 30), steps=st.integers(1, 1000))
def test_it_is_cut_behind_the_step_under_way_and_loses_only_whole_ones(
    now_s: float, steps: int
) -> None:
    work = StepWork(decode_requests=10, context_tokens=5000)
    segment = Segment(LINEAR, work, steps, 0.0)
    whole = [segment.after_s(step) for step in range(1, segment.steps + 1)]
    over = segment.over_by(now_s)
    assert over == sum(end_s <= now_s for end_s in whole)
    segment.cut(now_s)
    if now_s <= whole[-1]:
        assert segment.end_s == min(end_s for end_s in whole if end_s >= now_s)
    end_s = segment.end_s
    if 0 < over < segment.steps:
        segment.drop(over)
        assert segment.start_s == whole[over - 1]
        assert segment.end_s == pytest.approx(end_s, rel=1e-12)
