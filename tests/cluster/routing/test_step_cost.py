"""What the learner makes of steps: made ones whose cost is known, and bad ones."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.routing.step_cost import (
    LASTING_STEPS,
    MIN_PREFILL_STEPS,
    MIN_STEPS,
    StepCostLearner,
)
from cluster.types import StepCost

H100 = StepCost(base_s=0.012, prefill_token_s=4e-5, decode_request_s=1.2e-4)
CPU = StepCost(base_s=0.004, prefill_token_s=1.5e-3, decode_request_s=3e-3)


def duration_s(cost: StepCost, prefill_tokens: int, decode_requests: int) -> float:
    return (
        cost.base_s
        + cost.prefill_token_s * prefill_tokens
        + cost.decode_request_s * decode_requests
    )


def mix(rng: random.Random, prefill_frac: float = 0.3) -> Iterator[tuple[int, int]]:
    """Steps of an engine: a batch that grows and shrinks, and a prompt or part of one now and
    then."""
    decoding = 8
    while True:
        decoding = min(64, max(1, decoding + rng.randrange(-3, 4)))
        yield (rng.randrange(1, 2048) if rng.random() < prefill_frac else 0), decoding


def teach(
    learner: StepCostLearner,
    cost: StepCost,
    steps: int,
    rng: random.Random,
    noise_frac: float = 0.0,
    prefill_frac: float = 0.3,
) -> None:
    for _, (tokens, decoding) in zip(range(steps), mix(rng, prefill_frac), strict=False):
        noise = 1 + noise_frac * rng.uniform(-1, 1)
        learner.observe(tokens, decoding, duration_s(cost, tokens, decoding) * noise)


def assert_predicts(learner: StepCostLearner, cost: StepCost, rel: float) -> None:
    """Alike for what steps are like, whatever the single coefficients."""
    assert learner.cost is not None
    for tokens, decoding in ((0, 4), (0, 60), (512, 10), (2048, 30)):
        expected_s = duration_s(cost, tokens, decoding)
        assert duration_s(learner.cost, tokens, decoding) == pytest.approx(expected_s, rel=rel)


@pytest.mark.parametrize("cost", [H100, CPU])
def test_it_recovers_the_coefficients_of_steps_without_noise(cost):
    learner = StepCostLearner()
    teach(learner, cost, 400, random.Random(1))
    assert learner.cost is not None
    assert learner.cost.base_s == pytest.approx(cost.base_s, rel=0.01)
    assert learner.cost.prefill_token_s == pytest.approx(cost.prefill_token_s, rel=0.01)
    assert learner.cost.decode_request_s == pytest.approx(cost.decode_request_s, rel=0.01)


costs = st.builds(
    StepCost,
    base_s=st.floats(1e-3, 0.1),
    prefill_token_s=st.floats(1e-6, 2e-3),
    decode_request_s=st.floats(0, 3e-3),
)


@settings(max_examples=15, deadline=None)
@given(costs, st.integers(0, 99))
def test_it_predicts_noisy_steps_of_any_engine(cost, seed):
    learner = StepCostLearner()
    teach(learner, cost, 600, random.Random(seed), noise_frac=0.2)
    assert_predicts(learner, cost, rel=0.2)  # the noise of one step; 0.13 was seen


def test_it_says_nothing_before_it_has_seen_enough_steps():
    learner = StepCostLearner()
    rng = random.Random(1)
    teach(learner, H100, MIN_STEPS - 1, rng)
    assert learner.cost is None
    teach(learner, H100, 1, rng)
    assert learner.cost is not None


def test_it_says_nothing_before_it_has_seen_enough_prefills():
    learner = StepCostLearner()
    teach(learner, H100, 1000, random.Random(1), prefill_frac=0.0)
    for _ in range(MIN_PREFILL_STEPS):
        assert learner.cost is None
        learner.observe(900, 3, duration_s(H100, 900, 3))
    assert learner.cost is not None


def test_it_follows_an_engine_that_becomes_slower_and_faster():
    learner, rng = StepCostLearner(), random.Random(1)
    for factor in (1.0, 6.0, 0.5):
        cost = StepCost(
            base_s=H100.base_s * factor,
            prefill_token_s=H100.prefill_token_s * factor,
            decode_request_s=H100.decode_request_s * factor,
        )
        teach(learner, cost, 3000, rng, prefill_frac=0.6)
        assert_predicts(learner, cost, rel=0.1)


def test_a_lasting_change_is_known_after_some_tens_of_steps():
    learner, rng = StepCostLearner(), random.Random(1)
    teach(learner, H100, 20_000, rng)
    slow = StepCost(base_s=0.12, prefill_token_s=4e-4, decode_request_s=1.2e-3)
    teach(learner, slow, LASTING_STEPS + 60, rng)
    assert_predicts(learner, slow, rel=0.1)
    teach(learner, H100, LASTING_STEPS + 60, rng)
    assert_predicts(learner, H100, rel=0.1)


def test_a_stall_of_fewer_steps_is_none():
    learner, rng = StepCostLearner(), random.Random(1)
    teach(learner, H100, 2000, rng)
    for tokens, decoding in itertools.islice(mix(rng), LASTING_STEPS - 1):
        learner.observe(tokens, decoding, 50 * duration_s(H100, tokens, decoding))
    teach(learner, H100, 200, rng)
    assert_predicts(learner, H100, rel=0.15)


def test_a_batch_of_one_size_for_long_leaves_what_other_sizes_take_as_it_was():
    learner, rng = StepCostLearner(), random.Random(1)
    teach(learner, H100, 1000, rng)
    for _ in range(20_000):
        learner.observe(0, 60, duration_s(H100, 0, 60) * rng.uniform(0.8, 1.2))
    assert_predicts(learner, H100, rel=0.1)


runs = st.tuples(
    st.sampled_from([0, 0, 100, 2000]),
    st.sampled_from([0, 1, 30, 200]),
    st.sampled_from([0.01, 0.02, 0.9]),
    st.sampled_from([1, 2, 40, 300]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(runs, min_size=1, max_size=8))
@example([(100, 200, 0.01, 300), (0, 200, 0.9, 1)])  # one is below 0, and two hardly told apart
def test_steps_told_at_once_are_learnt_as_each_by_itself(told):
    """Also where they clip, where they are so odd that it begins anew, and before it says
    anything. Where steps hardly tell the coefficients apart, more than half the digits are
    rounding."""
    at_once, in_turn = StepCostLearner(), StepCostLearner()
    for tokens, decoding, step_s, steps in told:
        at_once.observe(tokens, decoding, step_s, steps)
        for _ in range(steps):
            in_turn.observe(tokens, decoding, step_s)
        assert (at_once.cost is None) == (in_turn.cost is None)
        if at_once.cost is not None and in_turn.cost is not None:
            for name in ("base_s", "prefill_token_s", "decode_request_s"):
                expected = pytest.approx(getattr(in_turn.cost, name), rel=0.01, abs=1e-9)
                assert getattr(at_once.cost, name) == expected
            for step in ((tokens, decoding) for tokens, decoding, _, _ in told):
                expected = pytest.approx(duration_s(in_turn.cost, *step), rel=1e-3, abs=1e-8)
                assert duration_s(at_once.cost, *step) == expected


def test_a_stall_in_a_hundred_steps_moves_it_by_a_few_percent():
    learner, rng = StepCostLearner(), random.Random(1)
    for step, (tokens, decoding) in zip(range(1500), mix(rng), strict=False):
        stalled = 100 if step % 100 == 50 else 1
        learner.observe(tokens, decoding, stalled * duration_s(H100, tokens, decoding))
    assert_predicts(learner, H100, rel=0.1)


def test_a_first_step_that_compiles_is_soon_forgotten():
    learner = StepCostLearner()
    learner.observe(512, 0, 30.0)
    teach(learner, H100, MIN_STEPS, random.Random(1))
    assert_predicts(learner, H100, rel=0.1)


def test_hours_of_decoding_leave_what_a_prompt_token_takes_as_it_was():
    learner, rng = StepCostLearner(), random.Random(1)
    teach(learner, H100, 1000, rng)
    teach(learner, H100, 20_000, rng, prefill_frac=0.0, noise_frac=0.1)
    assert_predicts(learner, H100, rel=0.1)
    learner.observe(2000, 10, 1.5 * duration_s(H100, 2000, 10))
    assert_predicts(learner, H100, rel=0.1)  # one odd prefill after all that decides nothing


def test_steps_that_are_all_alike_are_still_predicted():
    learner = StepCostLearner()
    for _ in range(5000):
        learner.observe(256, 16, 0.05)
    assert learner.cost is not None
    assert duration_s(learner.cost, 256, 16) == pytest.approx(0.05, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 100_000),
            st.integers(0, 2000),
            st.floats(1e-6, 1e4, allow_nan=False),
        ),
        min_size=MIN_STEPS,
        max_size=120,
    )
)
def test_whatever_it_sees_no_coefficient_is_negative_or_not_finite(steps):
    learner = StepCostLearner()
    for tokens, decoding, step_s in steps:
        learner.observe(tokens, decoding, step_s)
        cost = learner.cost
        if cost is not None:
            values = (cost.base_s, cost.prefill_token_s, cost.decode_request_s)
            assert all(math.isfinite(value) and value >= 0.0 for value in values)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ((-1, 0, 0.1), "a step of -1 prompt tokens and 0 requests"),
        ((0, -2, 0.1), "a step of 0 prompt tokens and -2 requests"),
        ((1, 1, 0.0), "a step of 0.0 s"),
        ((1, 1, math.nan), "a step of nan s"),
        ((1, 1, math.inf), "a step of inf s"),
        ((1, 1, 0.1, 0), "0 steps: there must be at least 1"),
    ],
)
def test_what_no_step_can_be_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        StepCostLearner().observe(*step)
