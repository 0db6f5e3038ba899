"""Engines for a load, by hand and by a simulated engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.capacity import (
    LEAST_WORK,
    UNREACHABLE_WORK,
    drain_s,
    engine_capacity,
    engines_for_backlog,
    engines_needed,
)
from cluster.scaling.limits import Slo
from cluster.scaling.offered_load import Load
from cluster.simulation.step_time import Fitted
from cluster.types import StepCost
from tests.cluster.simulation.simulated import limits, plan, run, unshared

SLO = Slo()
COST = StepCost(base_s=0.02, prefill_token_s=1e-4, decode_request_s=5e-4)
LOAD = Load(level=4.0, forecast=4.0, error=0.0, burst=0.0, prefill_frac=0.5,
            prompt_tokens=1000, uncached_tokens=1000, output_tokens=200)  # fmt: skip


def needed(load: Load = LOAD, cost: StepCost = COST, kv_tokens: int = 0, slo: Slo = SLO) -> float:
    return engines_needed(load, engine_capacity(load, cost, kv_tokens, slo), cost, slo)


def test_a_smooth_load_needs_its_work_over_what_the_tpot_leaves() -> None:
    assert needed() == pytest.approx(4.0 / (1 - 0.02 / 0.1))


def test_an_engine_at_that_work_takes_steps_as_long_as_the_tpot() -> None:
    """4 requests/s of 0.2 s of work each on one simulated engine: mean TPOT 0.1 s."""
    steps = Fitted(base_s=0.02, prefill_token_s=1e-4, decode_request_s=5e-4)
    count = 800
    work = unshared([place / 4.0 for place in range(count)], [1000] * count, [200] * count, 8)
    found = run(work, plan(1, limits(kv_blocks=100_000, block_tokens=8), steps))
    steady = [r.tpot_s for r in found.records[400:600] if r.tpot_s is not None]
    assert sum(steady) / len(steady) == pytest.approx(SLO.tpot_s, rel=0.03)


def test_a_small_cache_bounds_how_many_decode() -> None:
    """4,400 tokens are 4 requests of 1,100: x = 4 / (200 * 0.02 + 4 * 0.2), work 0.2 x."""
    capacity = engine_capacity(LOAD, COST, 4_400, SLO)
    assert capacity.most_work == pytest.approx(0.2 * 4 / (200 * 0.02 + 4 * 0.2))


@pytest.mark.parametrize(
    ("base_s", "most_work", "reachable"),
    [(0.02, 0.8, True), (0.095, LEAST_WORK, True), (0.2, UNREACHABLE_WORK, False)],
    ids=["fast", "hardly fast enough", "too slow"],
)
def test_what_a_step_leaves_for_work(base_s: float, most_work: float, reachable: bool) -> None:
    capacity = engine_capacity(LOAD, replace(COST, base_s=base_s), 0, SLO)
    assert capacity.most_work == pytest.approx(most_work)
    assert capacity.reachable is reachable


def test_a_queue_takes_its_tokens_over_what_prefill_gets() -> None:
    capacity = engine_capacity(LOAD, COST, 0, SLO)
    step_s = 0.02 + 0.5 * 0.8 * 0.1  # its base, and the decoding at an SLO's worth of work
    assert capacity.prefill_frac == pytest.approx(0.2048 / (0.2048 + step_s))
    expected_s = 10_000 * 1e-4 / (2 * capacity.prefill_frac)
    assert drain_s(10_000, 2, capacity, COST) == pytest.approx(expected_s)


def test_a_backlog_needs_no_engine_that_comes_after_its_end() -> None:
    capacity = engine_capacity(LOAD, COST, 0, SLO)
    over, left = (
        engines_for_backlog(tokens, 8, LOAD, capacity, COST, 60.0) for tokens in (1e5, 1e7)
    )
    assert over == 0.0
    assert left > 8


FRACS = st.floats(0.05, 1)
LOADS = st.builds(
    Load, level=st.just(1.0), forecast=st.floats(0, 50), error=st.floats(0, 10),
    burst=st.floats(0, 50), prefill_frac=FRACS, prompt_tokens=st.floats(1, 30_000),
    uncached_tokens=st.floats(1, 30_000), output_tokens=st.floats(0, 4000),
)  # fmt: skip
COSTS = st.builds(
    StepCost, base_s=st.floats(1e-3, 0.3), prefill_token_s=st.floats(0, 1e-3),
    decode_request_s=st.floats(0, 1e-2),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    load=LOADS, cost=COSTS, kv=st.integers(0, 10**6), more=st.floats(1, 3),
    name=st.sampled_from(["forecast", "error", "burst"]),
)  # fmt: skip
def test_more_load_noise_or_bursts_never_need_fewer(
    load: Load, cost: StepCost, kv: int, more: float, name: str
) -> None:
    most = replace(load, **{name: getattr(load, name) * more})
    assert needed(most, cost, kv) >= needed(load, cost, kv) >= 0.0


@settings(max_examples=100, deadline=None)
@given(load=LOADS, cost=COSTS, kv=st.integers(0, 10**6))
def test_the_work_alone_is_never_more_than_the_engines(load: Load, cost: StepCost, kv: int) -> None:
    assert needed(load, cost, kv) >= load.forecast - 1e-9
