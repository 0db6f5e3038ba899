"""What the routing policies come to on a fleet of 8 engines and 2 gateways, with reports as old as
in the live cluster."""

from __future__ import annotations

from random import Random

import pytest

from cluster.simulation.fleet_plan import FleetPlan
from cluster.simulation.generator import Groups, workload
from cluster.simulation.results import Result, result
from cluster.simulation.roofline import GPUS, MODELS, Roofline
from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.workload import Workload
from tests.cluster.simulation.simulated import plan, run

BLOCK_TOKENS = 64
H100 = Roofline(GPUS["H100"], MODELS["Llama-3.1-8B"])


def fleet() -> FleetPlan:
    size = EngineLimits(kv_blocks=6000, block_tokens=BLOCK_TOKENS)
    return plan(8, size, H100, gateways=2, report_every_s=0.25)


def poisson(groups: Groups, rate_per_s: float, sessions: int) -> Workload:
    rng = Random(7)
    begin_s, at_s = [], 0.0
    for _ in range(sessions):
        at_s += rng.expovariate(rate_per_s)
        begin_s.append(at_s)
    return workload(groups, begin_s, BLOCK_TOKENS, rng)


def outcome(policy: str, work: Workload) -> Result:
    return result(policy, run(work, fleet(), policy))


@pytest.mark.parametrize("rate_per_s", [100.0, 180.0])
def test_with_nothing_shared_predicted_costs_are_no_worse_than_least_load(
    rate_per_s: float,
) -> None:
    """One run of a thousand requests scatters; old reports taken at their word cost a factor 2."""
    groups = Groups(groups=1, question_tokens=1000, output_tokens=200)
    work = poisson(groups, rate_per_s, sessions=1200)
    predicted, least = (outcome(policy, work) for policy in ("predicted_cost", "least_load"))
    assert predicted.ttft_s.p90 is not None
    assert least.ttft_s.p90 is not None
    assert predicted.ttft_s.p90 <= 1.15 * least.ttft_s.p90


def test_a_hot_group_does_not_drown_the_engine_that_holds_its_prefix() -> None:
    groups = Groups(
        groups=50,
        common_tokens=BLOCK_TOKENS,
        prefix_tokens=3000,
        question_tokens=500,
        output_tokens=200,
        hot_group_frac=0.5,
    )
    found = outcome("predicted_cost", poisson(groups, 130.0, sessions=1500))
    assert found.imbalance.tokens is not None
    assert found.imbalance.tokens <= 1.5
    assert found.hit_frac is not None
    assert found.hit_frac > 0.6
