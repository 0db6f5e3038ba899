"""An elastic simulated fleet: nothing is lost or paid twice, whoever scales it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing import policies
from cluster.scaling import Scaler
from cluster.scaling.decision import ScalingDecision, ScalingReason
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.policies import SCALERS
from cluster.scaling.signals import Signals
from cluster.simulation.fixed_at_peak import fixed_at_peak
from cluster.simulation.fleet import simulate
from cluster.simulation.fleet_plan import Elasticity
from cluster.simulation.records import Run
from cluster.simulation.results import result
from cluster.simulation.scaling_result import replica_s, scaling_result
from cluster.simulation.step_time import Fitted
from cluster.simulation.workload import Workload
from tests.cluster.simulation.simulated import limits, plan, unshared, workloads

SMALL = limits(kv_blocks=14, batched=16, seqs=4)
STEPS = Fitted(base_s=0.1, prefill_token_s=0.01, decode_request_s=0.02)
SLO = Slo(ttft_s=1.0, tpot_s=0.3)


class Scripted:
    """The targets of a list, one a look, then the last."""

    def __init__(self, targets: list[int]) -> None:
        self._targets = iter(targets)
        self._last = targets[-1]
        self.seen: list[Signals] = []

    def decide(self, signals: Signals, now_s: float) -> ScalingDecision:
        self.seen.append(signals)
        target = next(self._targets, self._last)
        return ScalingDecision(target=target, reason=ScalingReason.FIXED, sentence="as told")


def elastic(
    work: Workload, scaler: Scaler, engines: int = 1, cold_start_s: float = 5.0,
    until_s: float = float("inf"),
) -> Run:  # fmt: skip
    fleet = plan(engines, SMALL, STEPS, gateways=2)
    routers = [policies.router("least_load") for _ in range(2)]
    rngs = [Random(number) for number in range(2)]
    how = Elasticity(slo=SLO, cold_start_s=cold_start_s)
    return simulate(work, fleet, routers, rngs, elastic=(scaler, how), until_s=until_s)


def check(work: Workload, found: Run, whole: bool) -> None:
    counts = result("any", found)
    assert counts.requests == counts.done + counts.failed + counts.in_flight
    if whole:
        assert (counts.requests, counts.in_flight) == (len(work.requests), 0)
    end_s = found.samples[-1].at_s
    assert len(found.lives) == len(found.samples[-1].busy_s)
    for life, busy_s in zip(found.lives, found.samples[-1].busy_s, strict=True):
        gone_s = end_s if life.gone_s is None else life.gone_s
        assert life.decided_s <= (life.ready_s or life.decided_s) <= gone_s <= end_s
        up_s = 0.0 if life.ready_s is None else gone_s - life.ready_s
        assert busy_s <= up_s + 1e-6
    assert replica_s(found.lives, end_s) >= sum(found.samples[-1].busy_s) - 1e-6


@settings(max_examples=40, deadline=None)
@given(
    work=workloads(), targets=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    cold_start_s=st.sampled_from([0.0, 1.5, 7.0]), until_s=st.sampled_from([6.0, 1e9]),
)  # fmt: skip
def test_whatever_the_targets_nothing_is_lost(
    work: Workload, targets: list[int], cold_start_s: float, until_s: float
) -> None:
    whole = until_s == 1e9
    scaler = Scripted([*targets, max(1, targets[-1])])  # in the end there is an engine
    check(work, elastic(work, scaler, 1, cold_start_s, until_s), whole)


@settings(max_examples=20, deadline=None)
@given(work=workloads(), name=st.sampled_from(sorted(SCALERS)), least=st.integers(0, 1))
def test_every_scaler_ends_every_request(work: Workload, name: str, least: int) -> None:
    bounds = ScalingLimits(least=least, most=4, idle_s=2.0)
    check(work, elastic(work, SCALERS[name](bounds, SLO, 2.0)), True)


def test_from_none_to_none_by_hand() -> None:
    """Idle until 50 s: the engine goes 10 s after the start. The request at 50 s is held while one
    starts, 5 s, and the engine's second with it is all that it does."""
    bounds = ScalingLimits(least=0, most=2, idle_s=10.0)
    work = unshared([0.0, 50.0], [4, 4], [1, 1])
    found = elastic(work, SCALERS["slo"](bounds, SLO, 2.0))
    assert [life.decided_s for life in found.lives] == [0.0, 50.0]
    assert found.lives[0].gone_s == pytest.approx(11.0, abs=1.0)
    assert found.records[1].first_token_s == pytest.approx(55.0 + 0.1 + 0.04)
    assert [each.decision.reason for each in found.decided][-1] is ScalingReason.HELD


def test_an_engine_that_drains_ends_what_it_has_and_gets_nothing_new() -> None:
    """20 tokens at 0.12 s; told to go at 1 s."""
    work = unshared([0.0, 0.5, 2.0], [4, 4, 4], [20, 20, 1])
    found = elastic(work, Scripted([2, 1]), engines=2)
    first, second, third = found.records
    assert {first.engine, second.engine} == {0, 1}
    gone = next(n for n, life in enumerate(found.lives) if life.gone_s is not None)
    assert found.lives[gone].gone_s == next(r.end_s for r in (first, second) if r.engine == gone)
    assert third.engine == 1 - gone


def test_one_that_is_no_longer_wanted_while_it_starts_is_gone_at_once() -> None:
    found = elastic(unshared([0.0, 9.0], [4, 4], [1, 1]), Scripted([3, 1]), cold_start_s=60.0)
    assert [(life.ready_s, life.gone_s) for life in found.lives[1:]] == [(None, 1.0)] * 2


def test_the_scaler_sees_what_there_is() -> None:
    scaler = Scripted([2, 2])
    work = unshared([0.0, 0.0, 0.2, 8.0], [4, 8, 4, 4], [3, 3, 3, 1])
    elastic(work, scaler, cold_start_s=2.5)
    states = [[engine.state.value for engine in signals.engines] for signals in scaler.seen]
    assert states[:4] == [["ready"], *[["ready", "starting"]] * 2, ["ready"] * 2]
    last = scaler.seen[-1].gateways
    assert sum(gateway.requests for gateway in last) == 4
    assert sum(gateway.uncached_prompt_tokens for gateway in last) == 20
    assert sum(gateway.output_tokens for gateway in last) == 9
    assert sum(gateway.held_requests for gateway in last) == 0


def test_the_size_at_peak_is_the_smallest_that_keeps_the_slo() -> None:
    """Runs whose requests are in time from 3 engines on."""
    tried: list[int] = []

    def simulated(engines: int) -> Run:
        tried.append(engines)
        slow = Fitted(base_s=0.1 if engines >= 3 else 5.0)
        return elastic_free(unshared([0.0], [4], [1]), slow, engines)

    engines, run = fixed_at_peak(simulated, SLO, 12)
    assert engines == 3
    assert len(run.lives) == 3
    assert tried == [12, 6, 3, 1, 2]
    with pytest.raises(ValueError, match=r"2 engines keep the SLO for 0\.00% of the requests"):
        fixed_at_peak(simulated, SLO, 2)


def elastic_free(work: Workload, steps: Fitted, engines: int) -> Run:
    fleet = plan(engines, SMALL, steps)
    return simulate(work, fleet, [policies.router("least_load")], [Random(0)])


def test_what_it_cost_and_kept_by_hand() -> None:
    """Steps of 1 s, two requests of one token, each on an engine of its own; the second comes at
    0.5 s."""
    found = elastic_free(unshared([0.0, 0.5], [16, 16], [1, 1]), Fitted(base_s=1.0), 2)
    scaled = scaling_result(found, Slo(ttft_s=1.0, tpot_s=0.1))
    assert (scaled.good, scaled.attainment_frac, scaled.ttft_good_frac) == (2, 1.0, 1.0)
    assert scaled.tpot_good_frac is None
    assert scaled.replica_s == 2 * 1.5
    assert scaled.good_per_replica_s == 2 / 3.0
    assert scaled.goodput_rps == 2 / 1.5
    assert (scaled.most_engines, scaled.mean_engines, scaled.starts) == (2, 2.0, 0)
    strict = scaling_result(found, Slo(ttft_s=0.9, tpot_s=0.1))
    assert (strict.good, strict.attainment_frac) == (0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"cold_start_s": -1}, "cold_start_s must be at least 0"), ({"every_s": 0}, "every_s must")],
)
def test_wrong_elasticity_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Elasticity(slo=SLO, **change)
