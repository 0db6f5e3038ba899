"""The rate a fleet can bear, where it is known."""

from __future__ import annotations

from random import Random

import pytest

from cluster.simulation.records import Run
from cluster.simulation.saturation import saturation_rps
from cluster.simulation.step_time import Fitted
from cluster.simulation.workload import Workload
from tests.cluster.simulation.simulated import limits, plan, run, unshared

ONE_AT_A_TIME = limits(kv_blocks=200, batched=1000, seqs=1)


def poisson(requests: int, rate_rps: float) -> Workload:
    rng = Random(5)
    at_s, arrivals_s = 0.0, []
    for _ in range(requests):
        at_s += rng.expovariate(rate_rps)
        arrivals_s.append(at_s)
    return unshared(arrivals_s, [10] * requests, [1] * requests)


@pytest.mark.parametrize(("engines", "rate_rps"), [(1, 1.0), (1, 30.0), (4, 2.0)])
def test_servers_of_a_tenth_of_a_second_bear_ten_a_second_each(
    engines: int, rate_rps: float
) -> None:
    fleet = plan(engines, ONE_AT_A_TIME, Fitted(base_s=0.1), report_every_s=1e6)

    def simulated(work: Workload, until_s: float) -> Run:
        return run(work, fleet, "least_load", until_s)

    found_rps = saturation_rps(poisson(1500, rate_rps), simulated)
    # Completions may lag by 5 % and still follow; the trace's second half has a rate of its own.
    assert found_rps == pytest.approx(10 * engines, rel=0.1)


def test_a_workload_too_short_to_saturate_is_refused() -> None:
    def simulated(work: Workload, until_s: float) -> Run:
        return run(work, plan(), "least_load", until_s)

    with pytest.raises(ValueError, match="2 requests are too few to saturate"):
        saturation_rps(unshared([0.0, 5.0], [4, 4], [1, 1]), simulated)
