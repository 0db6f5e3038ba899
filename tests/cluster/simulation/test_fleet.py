"""A simulated fleet: nothing is lost, seeds repeat, jumps change nothing."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.policies import POLICIES
from cluster.simulation.fleet_plan import FleetPlan
from cluster.simulation.records import Record, Run
from cluster.simulation.results import result
from cluster.simulation.roofline import GPUS, MODELS, Roofline
from cluster.simulation.step_time import Fitted
from cluster.simulation.workload import Workload
from tests.cluster.simulation.simulated import limits, plan, run, unshared, workloads

SMALL = limits(kv_blocks=14, batched=16, seqs=4)
STEPS = Fitted(base_s=0.1, prefill_token_s=0.01, decode_request_s=0.02, context_token_s=1e-3)
GPU_STEPS = Roofline(GPUS["L4"], MODELS["Llama-3.1-8B"])


@settings(max_examples=40, deadline=None)
@given(
    work=workloads(), policy=st.sampled_from(sorted(POLICIES)), until_s=st.sampled_from([4.0, 1e9])
)
def test_every_request_that_came_is_done_failed_or_in_flight(
    work: Workload, policy: str, until_s: float
) -> None:
    found = run(work, plan(2, SMALL, STEPS, gateways=2), policy, until_s)
    counts = result(policy, found)
    assert counts.requests == counts.done + counts.failed + counts.in_flight
    too_long = sum(r.prompt_tokens + r.output_tokens > SMALL.kv_tokens for r in work.requests)
    if until_s == 1e9:
        assert (counts.requests, counts.in_flight) == (len(work.requests), 0)
        assert counts.failed == too_long
    assert sum(found.samples[-1].tokens) >= sum(
        r.prompt_tokens - r.cached_tokens + r.output_tokens - 1
        for r in found.records
        if r.end_s is not None
    )


def known(record: Record) -> dict[str, float]:
    return {name: value for name, value in asdict(record).items() if isinstance(value, float | int)}


@settings(max_examples=40, deadline=None)
@given(work=workloads(), steps=st.sampled_from([STEPS, GPU_STEPS]), engines=st.integers(1, 2))
def test_jumps_change_nothing_but_rounding(
    work: Workload, steps: Fitted | Roofline, engines: int
) -> None:
    by_jumps = run(work, plan(engines, SMALL, steps))
    by_steps = run(work, plan(engines, SMALL, steps, jump=False))
    for one, other in zip(by_jumps.records, by_steps.records, strict=True):
        assert one.failed == other.failed
        assert known(one) == pytest.approx(known(other), rel=1e-9)
    assert by_jumps.samples[-1].tokens == by_steps.samples[-1].tokens
    assert by_jumps.samples[-1].busy_s == pytest.approx(by_steps.samples[-1].busy_s, rel=1e-9)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_same_seed_gives_the_same_run(policy: str) -> None:
    work = unshared([0.1 * i for i in range(40)], [9 + i % 7 for i in range(40)], [5] * 40)
    fleet = plan(3, SMALL, STEPS, gateways=2)
    assert run(work, fleet, policy) == run(work, fleet, policy)


def instants_s(found: Run) -> list[tuple[float | None, float | None]]:
    return [(record.first_token_s, record.end_s) for record in found.records]


def test_one_engine_by_hand() -> None:
    """Steps of 1 s, 10 tokens each. A prompt of 14 takes two; the second request, which arrives in
    the first step, is admitted in the second, with what is left of its budget."""
    work = unshared([0.0, 0.5], [14, 8], [2, 1])
    found = run(work, plan(1, limits(batched=10)))
    # 0-1: 10 of 14. 1-2: 4 of 14, 6 of 8. 2-3: one decode and 2 of 8.
    assert instants_s(found) == [(2.0, 3.0), (3.0, 3.0)]


def test_a_request_that_arrives_in_a_jump_is_admitted_with_the_next_step() -> None:
    work = unshared([0.0, 5.5], [4, 4], [20, 1])
    assert instants_s(run(work, plan())) == [(1.0, 20.0), (7.0, 7.0)]


def test_a_follower_comes_after_the_answer_and_a_pause() -> None:
    work = unshared([0.0, 2.5], [4, 4], [3, 1])
    first, second = work.requests
    follower = type(second)(
        arrival_s=2.5, prompt_tokens=4, output_tokens=1, runs=second.runs, follows=0
    )
    work = Workload(requests=[first, follower], block_tokens=4, max_output_tokens=3)
    assert instants_s(run(work, plan())) == [(1.0, 3.0), (6.5, 6.5)]


def test_an_idle_request_finds_what_the_last_one_left() -> None:
    work = unshared([0.0, 10.0], [9, 9], [1, 1])
    twice = Workload(
        requests=[work.requests[0], type(work.requests[0])(
            arrival_s=10.0, prompt_tokens=9, output_tokens=1, runs=work.requests[0].runs)],
        block_tokens=4, max_output_tokens=1,
    )  # fmt: skip
    found = result("round_robin", run(twice, plan()))
    assert found.hit_frac == 8 / 18


def test_what_can_never_fit_fails_and_says_why() -> None:
    found = run(unshared([0.0, 0.0], [100, 4], [1, 1]), plan(1, SMALL))
    assert found.records[0].failed == "101 tokens in 56 of KV cache"
    assert found.records[1].end_s == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engines": []}, "engines must be at least 1, not 0"),
        ({"gateways": 0}, "gateways must be at least 1, not 0"),
        ({"report_every_s": 0}, "report_every_s must be above 0, not 0"),
        ({"delay_s": -1}, "delay_s must be at least 0, not -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_plan_names_value_and_bound(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FleetPlan(**{"engines": plan().engines, **change})  # type: ignore[arg-type]


def test_engines_with_other_blocks_than_the_workload_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks of 4 tokens, a workload with blocks of 8"):
        run(unshared([0.0], [8], [1], block_tokens=8), plan())
