"""Step costs that may be compared: equal within the error, told apart beyond it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.fleet_step_costs import ALIKE_FRAC, StepCosts, alike, step_costs
from cluster.types import StepCost
from tests.cluster.builders import replica
from tests.cluster.routing_cases import GPU, SLOW_GPU


def of(*costs: StepCost | None) -> StepCosts:
    known = step_costs([replica(f"r{index}", step_cost=cost) for index, cost in enumerate(costs)])
    assert known is not None
    return known


def scaled(cost: StepCost, factor: float) -> StepCost:
    return StepCost(
        base_s=factor * cost.base_s,
        prefill_token_s=factor * cost.prefill_token_s,
        decode_request_s=factor * cost.decode_request_s,
    )


def by_hand(costs: list[StepCost], decoding: float) -> list[list[float]]:
    """Each entry the mean over those whose duration is within `ALIKE_FRAC`, one by one."""

    def near(duration_s, other_s):
        return max(duration_s, other_s) <= min(duration_s, other_s) * (1 + ALIKE_FRAC)

    def step_s(cost):
        return cost.base_s + cost.decode_request_s * decoding

    rows = []
    for own in costs:
        alike_steps = [each for each in costs if near(step_s(own), step_s(each))]
        alike_tokens = [each for each in costs if near(own.prefill_token_s, each.prefill_token_s)]
        rows.append(
            [
                float(np.mean([each.base_s for each in alike_steps])),
                float(np.mean([each.prefill_token_s for each in alike_tokens])),
                float(np.mean([each.decode_request_s for each in alike_steps])),
            ]
        )
    return rows


costs = st.builds(
    StepCost,
    base_s=st.floats(0.005, 0.01),
    prefill_token_s=st.floats(1e-5, 2e-5),
    decode_request_s=st.floats(1e-5, 2e-5),
)


@settings(deadline=None)
@given(st.lists(costs, min_size=1, max_size=9), st.floats(0.0, 300.0))
def test_each_counts_with_the_mean_of_those_about_as_fast(each, decoding):
    found = np.column_stack(alike(of(*each), decoding))
    assert np.allclose(found, by_hand(each, decoding), rtol=1e-9)


@settings(deadline=None)
@given(st.lists(costs, min_size=1, max_size=9), st.floats(0.0, 300.0), st.randoms())
def test_their_order_changes_no_cost(each, decoding, rng):
    order = list(range(len(each)))
    rng.shuffle(order)
    found = np.column_stack(alike(of(*each), decoding))
    shuffled = np.column_stack(alike(of(*(each[index] for index in order)), decoding))
    assert (shuffled == found[order]).all()


def test_what_a_fit_cannot_tell_apart_is_no_difference():
    """The same step of 100 decodes, its base and its decodes confounded."""
    one = StepCost(base_s=0.012, prefill_token_s=1.6e-5, decode_request_s=4e-6)
    other = StepCost(base_s=0.008, prefill_token_s=1.8e-5, decode_request_s=4.4e-5)
    found = np.column_stack(alike(of(one, other), 100.0))
    assert found[0] == pytest.approx([0.010, 1.7e-5, 2.4e-5])
    assert (found[0] == found[1]).all()


@given(st.floats(0.0, 300.0))
def test_a_fleet_of_two_types_has_two_speeds_and_no_more(decoding):
    rng = random.Random(5)
    within = [1 + 0.45 * ALIKE_FRAC * rng.uniform(-1, 1) for _ in range(8)]
    types = [GPU, SLOW_GPU] * 4
    mixed = [scaled(each, factor) for each, factor in zip(types, within, strict=True)]
    found = np.column_stack(alike(of(*mixed), decoding))
    for first, kind in enumerate((GPU, SLOW_GPU)):
        own = found[first::2]
        assert np.allclose(own, own[0], rtol=1e-9)
        expected = [kind.base_s, kind.prefill_token_s, kind.decode_request_s]
        assert own[0] == pytest.approx(expected, rel=ALIKE_FRAC / 2)


def test_an_unknown_one_counts_with_the_mean_of_the_others():
    found = np.column_stack(of(GPU, None, SLOW_GPU))
    assert found[0] == pytest.approx([GPU.base_s, GPU.prefill_token_s, GPU.decode_request_s])
    assert found[1] == pytest.approx([0.035, 2.5e-4, 3.5e-4])
    assert step_costs([replica("a")]) is None


def test_nothing_is_divided_by_a_speed_of_nothing():
    free = StepCost(base_s=0.0, prefill_token_s=0.0, decode_request_s=0.0)
    assert not np.column_stack(alike(of(free, free), 0.0)).any()
    mixed = np.column_stack(alike(of(free, GPU), 0.0))
    assert not mixed[0].any()
    assert mixed[1] == pytest.approx([GPU.base_s, GPU.prefill_token_s, GPU.decode_request_s])
