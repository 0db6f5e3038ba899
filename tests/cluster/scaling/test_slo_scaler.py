"""The scaler: why it decides what, and what holds whatever comes."""

from __future__ import annotations

from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.decision import ScalingDecision, ScalingReason
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.signals import Signals
from cluster.scaling.slo_scaler import SloScaler
from cluster.types import StepCost
from tests.cluster.scaling.scaled import COST, WORK_S, Ideal, engine, gateway, turns

R = ScalingReason
MOST_WORK = 1 - COST.base_s / Slo().tpot_s  # of one engine


def scaler(least: int = 1, most: int = 20, idle_s: float = 300.0, standby: int = 0) -> SloScaler:
    limits = ScalingLimits(least=least, most=most, idle_s=idle_s, standby=standby)
    return SloScaler(limits, Slo())


def after(fleet: Ideal, arrivals: int, seconds: int) -> ScalingDecision:
    return [fleet.second(arrivals) for _ in range(seconds)][-1]


def test_a_steady_load_gets_what_its_work_takes_and_little_more() -> None:
    """20 requests/s of 0.2 s each are 4 engines' work, at 0.8 of an engine's time 5 engines."""
    decision = after(Ideal(scaler(), engines=1), 20, 900)
    work = 20 * WORK_S
    assert decision.needed is not None
    assert work / MOST_WORK < decision.needed < 1.4 * work / MOST_WORK
    assert decision.reason is R.STEADY
    assert "4.00 engines' work" in decision.sentence


def test_a_load_that_doubles_gets_more_before_it_has_doubled_the_mean() -> None:
    fleet = Ideal(scaler(), engines=6)
    before = after(fleet, 20, 600).target
    reasons = [fleet.second(40).reason for _ in range(30)]
    assert R.LOAD in reasons
    assert fleet.second(40).target >= 1.6 * before


def test_fewer_come_only_after_it_was_less_for_two_cold_starts() -> None:
    fleet = Ideal(scaler(), engines=6)
    before = after(fleet, 20, 600).target
    decisions = [fleet.second(5) for _ in range(400)]
    fell_at = next(place for place, each in enumerate(decisions) if each.target < before)
    assert fell_at >= 120
    assert decisions[fell_at].reason is R.SURPLUS
    assert decisions[60].reason is R.COOLING
    assert "fewer if that lasts" in decisions[60].sentence
    assert decisions[-1].target <= 3


def test_a_backlog_that_outlasts_a_cold_start_gets_more_at_once() -> None:
    """200,000 prompt tokens are 20 s of an engine; 2 engines, of which prefill gets two thirds."""
    fleet = Ideal(scaler(), engines=2)
    after(fleet, 4, 300)
    decision = fleet.scaler.decide(with_backlog(fleet, 2_000_000), fleet.now_s + 1)
    assert decision.reason is R.BACKLOG
    assert decision.target > 2
    assert "more than the TTFT of 2 s" in decision.sentence


def test_a_backlog_that_is_over_before_an_engine_could_come_gets_none() -> None:
    fleet = Ideal(scaler(), engines=4)
    before = after(fleet, 4, 300)
    decision = fleet.scaler.decide(with_backlog(fleet, 100_000), fleet.now_s + 1)
    assert decision.target == before.target


def with_backlog(fleet: Ideal, tokens: int) -> Signals:
    target = fleet.second(4).target
    share = tokens // target
    return Signals(
        engines=[engine(f"e{n}", queued_prefill_tokens=share, step_cost=COST)
                 for n in range(target)],
        gateways=[gateway(fleet.requests)],
        target=target,
    )  # fmt: skip


@pytest.mark.parametrize("arrivals", [1, 5, 20])
def test_so_many_stand_by_beside_those_that_are_needed(arrivals: int) -> None:
    without = after(Ideal(scaler(), engines=1), arrivals, 900)
    decision = after(Ideal(scaler(standby=2), engines=1), arrivals, 900)
    assert decision.target == without.target + 2
    assert "2 more to stand by" in decision.sentence


@pytest.mark.parametrize(("least", "target"), [(0, 0), (1, 1), (2, 2)])
def test_where_nobody_asks_one_that_stands_by_is_the_least_there_is(
    least: int, target: int
) -> None:
    fleet = Ideal(scaler(least, idle_s=30.0, standby=1), engines=1)
    after(fleet, 5, 300)
    assert after(fleet, 0, 3000).target == target


def test_what_stands_by_is_within_the_bounds() -> None:
    decision = after(Ideal(scaler(most=3, standby=9), engines=1), 1, 300)
    assert (decision.target, decision.reason) == (3, R.AT_MOST)


def test_without_rates_what_stands_by_is_not_added_again_and_again() -> None:
    fleet = Ideal(scaler(standby=1), engines=2, cost=None)
    assert after(fleet, 1, 300).target == 2


@pytest.mark.parametrize("kv_use_frac", [0.0, 0.99])
def test_kv_use_changes_nothing(kv_use_frac: float) -> None:
    one = scaler()
    targets = []
    for second in range(300):
        engines = [engine("e0", step_cost=COST, kv_use_frac=kv_use_frac)]
        signals = Signals(engines=engines, gateways=[gateway(second)], target=1)
        targets.append(one.decide(signals, float(second)).target)
    assert set(targets) == {1}


def test_an_slo_that_is_missed_all_the_same_gets_one_more_and_bounded_so() -> None:
    fleet = Ideal(scaler(), engines=6)
    before = after(fleet, 20, 600).target
    decisions = [fleet.second(20, ttft_good=(fleet.requests + 20) * 9 // 10) for _ in range(3000)]
    assert R.SLO_MISSED in {each.reason for each in decisions}
    assert before < decisions[-1].target <= 1.34 * 1.1 * before + 1


UNKNOWN_RATES = [
    ("a few requests wait for the step under way", {"running": 9, "waiting": 2}, R.UNMEASURED, 2),
    ("more wait than run", {"running": 8, "waiting": 12}, R.QUEUED, 5),
    ("nothing runs", {"running": 0, "waiting": 0}, R.UNMEASURED, 2),
]


@pytest.mark.parametrize(
    ("load", "reason", "target"), [case[1:] for case in UNKNOWN_RATES],
    ids=[case[0] for case in UNKNOWN_RATES],
)  # fmt: skip
def test_without_rates_it_goes_by_what_waits(
    load: dict[str, int], reason: ScalingReason, target: int
) -> None:
    engines = [
        engine(f"e{n}", running_requests=load["running"], waiting_requests=load["waiting"])
        for n in range(2)
    ]
    decision = scaler().decide(Signals(engines=engines, gateways=[gateway()], target=2), 0.0)
    assert (decision.reason, decision.target) == (reason, target)
    assert "step costs are not known yet" in decision.sentence


def test_without_rates_a_missed_slo_gets_one_more() -> None:
    fleet = Ideal(scaler(), engines=2, cost=None)
    decisions = [fleet.second(20, ttft_good=0) for _ in range(9)]
    assert R.SLO_MISSED in {each.reason for each in decisions}
    assert decisions[-1].target == 3  # and no more until it is up


def test_what_cannot_be_placed_is_not_asked_for() -> None:
    decision = after(Ideal(scaler(), engines=1, placeable=3), 40, 300)
    assert (decision.target, decision.reason) == (3, R.NO_ROOM)
    assert "can be" in decision.sentence


def test_the_upper_bound_is_said() -> None:
    decision = after(Ideal(scaler(most=4), engines=1), 40, 300)
    assert (decision.target, decision.reason) == (4, R.AT_MOST)


def test_the_last_engine_goes_after_a_while_and_comes_back_for_one_request() -> None:
    fleet = Ideal(scaler(least=0, idle_s=100.0), engines=1)
    after(fleet, 1, 60)
    idle = [fleet.second(0) for _ in range(200)]
    gone_at = next(place for place, each in enumerate(idle) if each.target == 0)
    assert 98 <= gone_at <= 101
    assert idle[-1].reason is R.IDLE
    woken = fleet.second(1)
    assert (woken.target, woken.reason) == (1, R.HELD)
    assert {fleet.second(0).target for _ in range(60)} == {1}


def test_the_last_one_stays_while_a_request_runs() -> None:
    one = scaler(least=0, idle_s=10.0)
    busy = [engine("e0", running_requests=1, step_cost=COST)]
    signals = Signals(engines=busy, gateways=[gateway()], target=1)
    assert {one.decide(signals, float(second)).target for second in range(100)} == {1}


def test_cold_starts_that_take_longer_are_foreseen_and_reported() -> None:
    fleet = Ideal(scaler(), engines=1, cold_start_s=200.0)
    decision = after(fleet, 20, 900)
    assert decision.cold_start_s == pytest.approx(200.0, rel=0.05)


def test_a_step_that_is_longer_than_the_tpot_is_said_and_asks_for_no_flood() -> None:
    slow = StepCost(base_s=0.3, prefill_token_s=1e-4, decode_request_s=5e-4)
    decision = after(Ideal(scaler(), engines=4, cost=slow), 5, 300)
    assert "longer than the TPOT" in decision.sentence
    assert decision.target <= 5


ARRIVALS = st.lists(st.integers(0, 60), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(
    arrivals=ARRIVALS, least=st.integers(0, 3), most=st.integers(3, 12),
    placeable=st.one_of(st.none(), st.integers(0, 12)), cost=st.sampled_from([COST, None]),
)  # fmt: skip
def test_the_target_is_within_its_bounds(
    arrivals: list[int], least: int, most: int, placeable: int | None, cost: StepCost | None
) -> None:
    fleet = Ideal(scaler(least, most), engines=max(1, least), cost=cost, placeable=placeable)
    for each in chain.from_iterable(repeat(rate, 20) for rate in arrivals):
        decision = fleet.second(each)
        assert decision.target <= most
        assert decision.target <= (most if placeable is None else placeable)
        assert decision.target >= min(least, most if placeable is None else placeable)
        assert decision.sentence


@settings(max_examples=15, deadline=None)
@given(arrivals=ARRIVALS, times=st.integers(2, 4))
def test_more_of_the_same_load_never_gets_fewer(arrivals: list[int], times: int) -> None:
    once, more = (Ideal(scaler(most=500), engines=1) for _ in range(2))
    for each in chain.from_iterable(repeat(rate, 20) for rate in arrivals):
        needed = once.second(each).needed
        needed_for_more = more.second(times * each).needed
        assert needed is not None
        assert needed_for_more is not None
        assert needed_for_more >= needed - 1e-9


@settings(max_examples=20, deadline=None)
@given(rate=st.integers(0, 60), engines=st.integers(1, 12))
def test_a_constant_load_turns_the_target_once_at_most(rate: int, engines: int) -> None:
    targets = Ideal(scaler(), engines=engines).play([rate] * 1500)
    assert turns(targets) <= 1
    assert len(set(targets[-600:])) == 1


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 60), end=st.integers(0, 60), rough=st.integers(0, 2))
def test_a_slowly_changing_load_is_followed_without_going_to_and_fro(
    start: int, end: int, rough: int
) -> None:
    """Over 25 minutes, and with arrivals that come by twos or threes every other second."""
    span = 1500
    rates = [start + (end - start) * second // span for second in range(span)]
    arrivals = [rate + (rough if second % 2 else -min(rough, rate))
                for second, rate in enumerate(rates)]  # fmt: skip
    assert turns(Ideal(scaler(), engines=8).play(arrivals)) <= 2


def test_a_scaler_that_starts_anew_holds_what_is_there() -> None:
    fleet = Ideal(scaler(), engines=6)
    assert set(fleet.play([1] * 100)) == {6}
