"""The least added latency: who is picked and why, ties, the bound on load, and what is unknown."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.added_latency import AddedLatency
from cluster.routing.fleet_step_costs import alike, step_costs
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.routing.predicted_cost import TIE_FRAC, UNSEEN_REQUESTS, PredictedCost
from cluster.types import BlockHash, ReplicaSnapshot, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica, route_request
from tests.cluster.routing_cases import GPU, SLOW_GPU, distribution, fleets, requests

LONG = RouteRequest(prompt_tokens=4000, max_output_tokens=100)


def known(name: str, running: int = 0, waiting: int = 0, **loads: object) -> ReplicaSnapshot:
    """A replica that this gateway alone uses, unless told otherwise."""
    counts = {
        "inflight_requests": running + waiting,
        "running_requests": running,
        "waiting_requests": waiting,
        "decode_requests": running,
    }
    return replica(name, **{"step_cost": GPU, "kv_total_tokens": 200_000, **counts, **loads})


@pytest.mark.parametrize(
    ("replicas", "picked", "reason"),
    [
        pytest.param([known("a", running=90)], "a", RouteReason.ONLY, id="the only one"),
        pytest.param(
            [known("a", queued_prefill_tokens=2000, waiting=1), known("b")],
            "b",
            RouteReason.LEAST_COST,
            id="an idle one before one with a queue",
        ),
        pytest.param(
            [known("a", cached_tokens=3000), known("b")],
            "a",
            RouteReason.CACHED,
            id="what is cached need not be computed",
        ),
        pytest.param(
            [
                known("a", cached_tokens=512, queued_prefill_tokens=90_000, waiting=9),
                known("b"),
            ],
            "b",
            RouteReason.LEAST_COST,
            id="a few cached tokens are not worth a long queue",
        ),
        pytest.param(
            [known("a", cached_tokens=512), known("b", cached_tokens=512, running=8)],
            "a",
            RouteReason.LEAST_COST,
            id="what all hold decides nothing",
        ),
        pytest.param(
            [known("a", step_cost=SLOW_GPU), known("b", running=4)],
            "b",
            RouteReason.LEAST_COST,
            id="a fast engine with some work before an idle slow one",
        ),
        pytest.param(
            [
                known("a", kv_use_frac=0.99, running=8),
                known("b", kv_use_frac=0.5, running=9),
            ],
            "b",
            RouteReason.LEAST_COST,
            id="one with room before one that would preempt",
        ),
        pytest.param(
            [known("a", outstanding_tokens=9), known("b"), known("c", waiting=9)],
            "b",
            RouteReason.TIE,
            id="of equal costs the one that got less from here",
        ),
        pytest.param(
            [known("a", step_cost=None), known("b", waiting=3)],
            "a",
            RouteReason.LEAST_COST,
            id="one whose steps are unknown counts like the others",
        ),
    ],
)
def test_the_pick_and_its_reason(replicas, picked, reason):
    decision = PredictedCost().choose(LONG, replicas, Draw(0))
    assert (decision.replica_id, decision.reason) == (picked, reason)


@settings(deadline=None)
@given(requests, fleets(), st.integers(0, 119))
def test_without_any_step_cost_it_is_least_load(request, replicas, draw):
    unknown = [replica(each.id, each.outstanding_tokens) for each in replicas]
    decision = PredictedCost().choose(request, unknown, Draw(draw))
    assert decision == LeastOutstandingTokens().choose(request, unknown, Draw(draw))


@settings(deadline=None)
@given(requests, fleets())
def test_it_picks_from_the_least_costs_by_brute_force(request, replicas):
    """The oracle: price each with what it displaces, sort, take all within the slack, of them those
    that hold the most, then those with fewest tokens."""
    replicas = [replace(each, step_cost=each.step_cost or GPU) for each in replicas]
    decoding = sum(each.decode_requests for each in replicas) / len(replicas)
    costs = alike(step_costs(replicas), decoding)
    added = AddedLatency(request, replicas, costs, float(request.max_output_tokens))
    costs_s = added.predict(added.uncached_tokens)[1] + added.displaced(added.uncached_tokens)
    ranked = sorted(zip(costs_s, added.of_one_more(), replicas, strict=True), key=lambda o: o[:2])
    requests_ = sum(
        max(each.inflight_requests, each.running_requests + each.waiting_requests)
        for each in replicas
    )
    own = sum(each.inflight_requests for each in replicas)
    others_frac = 1 - own / requests_ if requests_ else 0.0
    most_s = ranked[0][0] + ranked[0][1] * max(TIE_FRAC, UNSEEN_REQUESTS * min(1, 2 * others_frac))
    near = [each for cost_s, _, each in ranked if cost_s <= most_s]
    missing = {each.id: max(1, request.prompt_tokens - each.cached_tokens) for each in near}
    most_tokens = min(missing.values()) + TIE_FRAC * request.prompt_tokens
    near = [each for each in near if missing[each.id] <= most_tokens]
    fewest = min(each.outstanding_tokens for each in near)
    best = {each.id for each in near if each.outstanding_tokens == fewest}
    found = distribution(PredictedCost(), request, replicas)
    assert set(found) == best
    assert len(set(found.values())) == 1


@settings(deadline=None)
@given(requests, fleets(), st.integers(0, 119))
def test_costs_are_finite_and_a_first_token_comes_before_the_last(request, replicas, draw):
    for cost in PredictedCost().choose(request, replicas, Draw(draw)).costs:
        assert np.isfinite(cost.cost_s)
        assert 0.0 < cost.ttft_s < cost.cost_s


# --- what is displaced, and near ties ----------------------------------------------------------


def test_a_dearer_engine_wins_where_its_prefix_would_displace_as_much_elsewhere():
    replicas = [
        known("a", cached_tokens=3000, queued_prefill_tokens=6000, waiting=1),
        known("b"),
    ]
    decision = PredictedCost().choose(LONG, replicas, Draw(0))
    held, idle = decision.costs
    assert held.cost_s > idle.cost_s  # which are what is predicted, without what is displaced
    assert (decision.replica_id, decision.reason) == ("a", RouteReason.CACHED)


def test_displacing_does_not_outweigh_a_long_queue():
    queued = known("a", cached_tokens=3000, queued_prefill_tokens=60_000, waiting=9)
    decision = PredictedCost().choose(LONG, [queued, known("b")], Draw(0))
    assert decision.replica_id == "b"


def shared(name: str, **loads: object) -> ReplicaSnapshot:
    """One whose requests all came through other gateways."""
    return known(name, running=9, inflight_requests=0, **loads)


def test_of_near_equal_costs_the_one_that_holds_most_wins_though_it_got_more_from_here():
    holder = shared("a", cached_tokens=512, queued_prefill_tokens=16_000, outstanding_tokens=9000)
    decision = PredictedCost().choose(LONG, [holder, shared("b")], Draw(0))
    assert (decision.replica_id, decision.reason) == ("a", RouteReason.TIE)
    empty = replace(holder, cached_tokens=0, queued_prefill_tokens=0)
    assert PredictedCost().choose(LONG, [empty, shared("b")], Draw(0)).replica_id == "b"


def test_beyond_the_bound_holding_more_breaks_no_tie():
    """Without credit all cost the same here; were the holder to win ties, it would get all."""
    router, rng = PredictedCost(), random.Random(3)
    replicas = [known("a", cached_tokens=3000), known("b"), known("c"), known("d")]
    picks = [router.choose(LONG, replicas, rng).replica_id for _ in range(3000)]
    given = {name: picks.count(name) * (1100 if name == "a" else 4100) for name in "abcd"}
    assert given["a"] <= 1.3 * sum(given.values()) / 4


# --- the bound on load ------------------------------------------------------------------------


def keep_choosing(hot_frac: float, rounds: int) -> tuple[Counter[str], Counter[RouteReason]]:
    """Requests end at once, so that no queue spreads them; `a` alone holds the hot prefix, and
    what is sent elsewhere leaves nothing behind."""
    router, rng = PredictedCost(), random.Random(3)
    tokens: Counter[str] = Counter()
    reasons: Counter[RouteReason] = Counter()
    for _ in range(rounds):
        held = 3000 if rng.random() < hot_frac else 0
        replicas = [known("a", cached_tokens=held), known("b"), known("c"), known("d")]
        decision = router.choose(LONG, replicas, rng)
        tokens[decision.replica_id] += 4100 - held * (decision.replica_id == "a")
        reasons[decision.reason] += 1
    return tokens, reasons


def test_no_replica_gets_far_beyond_the_mean_for_what_it_holds():
    tokens, reasons = keep_choosing(hot_frac=0.9, rounds=3000)
    assert max(tokens.values()) <= 1.3 * tokens.total() / 4
    assert reasons[RouteReason.SPILLED] > 0
    assert reasons[RouteReason.CACHED] > reasons[RouteReason.SPILLED]


def test_within_the_bound_a_prefix_stays_where_it_is():
    router = PredictedCost()
    cold = [known("a", waiting=1), known("b"), known("c")]
    hot = [known("a", cached_tokens=3000), known("b"), known("c")]
    picks = [
        (router.choose(LONG, cold, Draw(turn)), router.choose(LONG, hot, Draw(turn)))
        for turn in range(300)
    ]
    assert {second.reason for _, second in picks} == {RouteReason.CACHED}
    assert {first.replica_id for first, _ in picks} == {"b", "c"}


def test_one_beyond_the_bound_is_still_picked_where_it_has_least_to_do():
    router = PredictedCost()
    for _ in range(50):
        router.choose(LONG, [known("a"), known("b", waiting=9)], Draw(0))
    busy = [known("a", cached_tokens=3000), known("b", waiting=9)]
    assert router.choose(LONG, busy, Draw(0)).replica_id == "a"
    idle = [known("a", cached_tokens=3000, waiting=1), known("b")]
    spilled = router.choose(LONG, idle, Draw(0))
    assert (spilled.replica_id, spilled.reason) == ("b", RouteReason.SPILLED)


# --- several gateways -------------------------------------------------------------------------


def at_one_instant(replicas: list[ReplicaSnapshot], gateways: int = 16) -> Counter[str]:
    """What that many gateways pick, each for itself, all with the same reports before them."""
    return Counter(
        PredictedCost().choose(LONG, replicas, random.Random(seed)).replica_id
        for seed in range(gateways)
    )


def test_gateways_spread_over_an_idle_fleet():
    """16 on 8: more than 7 on one has a chance below 0.1 %."""
    picks = at_one_instant([known(f"r{index}") for index in range(8)])
    assert max(picks.values()) <= 7


def test_gateways_do_not_herd_onto_the_one_that_is_least_loaded_by_less_than_a_request():
    tokens = (0, 500, 1000, 1500, 2000, 2500, 3000, 3500)
    replicas = [
        known(f"r{index}", running=9, queued_prefill_tokens=queued, inflight_requests=0)
        for index, queued in enumerate(tokens)
    ]
    picks = at_one_instant(replicas)
    assert max(picks.values()) <= 7
    costs = PredictedCost().choose(LONG, replicas, Draw(0)).costs
    assert len({cost.cost_s for cost in costs}) == 8  # the least alone would have had all 16


def test_gateways_do_not_herd_onto_one_that_had_eight_requests_fewer_at_its_last_report():
    replicas = [shared("r0"), *(known(f"r{i}", running=17, inflight_requests=0) for i in (1, 2, 3))]
    assert set(at_one_instant(replicas)) == {"r0", "r1", "r2", "r3"}


def test_gateways_all_avoid_one_that_has_much_more_to_do():
    busy = known("r0", running=9, queued_prefill_tokens=80_000, inflight_requests=0)
    picks = at_one_instant(
        [busy, *(known(f"r{index}", running=9, inflight_requests=0) for index in (1, 2))]
    )
    assert set(picks) == {"r1", "r2"}


def test_a_gateway_alone_takes_the_least_cost_by_itself():
    replicas = [
        known("a", running=9, queued_prefill_tokens=1500),
        known("b", running=9, queued_prefill_tokens=500),
    ]
    assert at_one_instant(replicas) == {"b": 16}


def lag_run(gateways: int, everyone_picks_the_least: bool) -> int:
    """The most that one of 8 replicas ever had queued, in requests, over 200 instants: each gateway
    sends one request, all with the loads of the instant before; each replica then ends two."""
    rng = random.Random(5)
    routers = [PredictedCost() for _ in range(gateways)]
    queued = [0] * 8
    most = 0
    for _ in range(200):
        seen = [
            known(f"r{i}", waiting=n, queued_prefill_tokens=4000 * n, inflight_requests=0)
            for i, n in enumerate(queued)
        ]
        for router in routers:
            decision = router.choose(LONG, seen, rng)
            least = min(decision.costs, key=lambda cost: cost.cost_s).replica_id
            picked = least if everyone_picks_the_least else decision.replica_id
            queued[int(picked[1:])] += 1
        most = max(most, *queued)
        queued = [max(0, n - 2) for n in queued]
    return most


def test_stale_reports_make_shorter_queues_than_if_all_took_the_least():
    assert lag_run(12, everyone_picks_the_least=True) >= 12
    assert lag_run(12, everyone_picks_the_least=False) <= 8


def test_blocks_are_the_index_s_business_not_the_policy_s():
    replicas = [known("a", cached_tokens=100), known("b")]
    blocks = RouteRequest(prompt_tokens=100, max_output_tokens=50, blocks=(BlockHash(7),))
    same = PredictedCost().choose(route_request(100, 50), replicas, Draw(0))
    assert PredictedCost().choose(blocks, replicas, Draw(0)) == same
