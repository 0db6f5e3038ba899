"""The size of a model's engines under Serve: first ones, none, the first again, and bad reports."""

from __future__ import annotations

import logging

import pytest
from ray.experimental import internal_kv

from cluster.scaling.decision import ScalingReason
from cluster.scaling.limits import ScalingLimits, Slo
from serve_app import cluster_store, engine_starts, scaling_board
from serve_app.engines_autoscaler import BLIND_WARN_S, EnginesAutoscaler
from serve_app.scaling_stats import PREFIX
from tests.serve_app.gcs import Gcs
from tests.serve_app.scaling_contexts import APP, ENGINES, MODEL, context, gateway

IDLE_S = 30.0
BUSY = {PREFIX + "running_requests": 3}
IDLE = {PREFIX + "running_requests": 0}


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    scaling_board.clear()
    return gcs


def autoscaler(*, least: int = 0, first: int = 1, is_new: bool = False) -> EnginesAutoscaler:
    return EnginesAutoscaler(
        model=MODEL,
        limits=ScalingLimits(least=least, most=4, idle_s=IDLE_S),
        slo=Slo(),
        first=first,
        is_new=is_new,
    )


def told(now_s: float, **said) -> None:
    """One gateway, of which `gateway` has the words."""
    scaling_board.post(APP, {"g": gateway(**said)}, now_s)


def decided(scaler: EnginesAutoscaler, target: int, running: dict, now_s: float):
    decision = scaler.decide(context(target, running, at_s=1000.0 + now_s), now_s)
    return decision.target, decision.reason


@pytest.mark.parametrize("first", [1, 3])
def test_a_new_deployment_gets_its_first_engines_once(first):
    scaler = autoscaler(first=first, is_new=True)
    assert decided(scaler, 0, {}, 0.0) == (first, ScalingReason.FIRST)
    told(1.0, built=False)
    assert decided(scaler, first, {}, 1.0) == (first, ScalingReason.FIRST)  # they are still to come


def test_a_later_deploy_leaves_the_size_as_it_is():
    told(0.0)
    assert decided(autoscaler(first=3), 1, {"e": IDLE}, 0.0)[0] == 1


def test_after_a_while_without_a_request_there_is_none_and_nobody_asks():
    scaler = autoscaler()
    for now_s in (0.0, IDLE_S / 2):
        told(now_s)
        assert decided(scaler, 1, {"e": IDLE}, now_s)[0] == 1
    told(IDLE_S)
    assert decided(scaler, 1, {"e": IDLE}, IDLE_S) == (0, ScalingReason.IDLE)
    told(IDLE_S + 1)
    assert decided(scaler, 0, {}, IDLE_S + 1) == (0, ScalingReason.IDLE)


def test_from_several_engines_none_is_reached_by_way_of_one():
    scaler = autoscaler()
    told(0.0)
    decided(scaler, 3, {"a": IDLE, "b": IDLE, "c": IDLE}, 0.0)
    told(IDLE_S)
    now = decided(scaler, 3, {"a": IDLE, "b": IDLE, "c": IDLE}, IDLE_S)
    assert now == (1, ScalingReason.IDLE)
    assert decided(scaler, 1, {"a": IDLE}, IDLE_S + 1.0) == (0, ScalingReason.IDLE)


def test_a_request_that_runs_keeps_the_last_engine():
    scaler = autoscaler()
    for now_s in (0.0, IDLE_S, 3 * IDLE_S):
        told(now_s)
        assert decided(scaler, 1, {"e": BUSY}, now_s)[0] == 1


def test_a_held_request_wakes_one():
    scaler = autoscaler()
    told(0.0)
    assert decided(scaler, 0, {}, 0.0)[0] == 0
    told(0.5, held=1)
    assert decided(scaler, 0, {}, 0.5) == (1, ScalingReason.HELD)


def test_a_held_request_keeps_waking_one_while_starts_fail():
    scaler = autoscaler()
    for now_s in (0.0, IDLE_S, 5 * IDLE_S):
        told(now_s, held=1)
        assert decided(scaler, 0, {}, now_s) == (1, ScalingReason.HELD)
        assert decided(scaler, 1, {}, now_s + 1.0)[0] == 1


def test_gateways_that_have_all_not_met_an_engine_get_one():
    scaler = autoscaler()
    told(0.0, built=False)
    assert decided(scaler, 0, {}, 0.0) == (1, ScalingReason.FIRST)


def test_a_new_gateway_beside_one_that_has_wakes_none():
    scaler = autoscaler()
    scaling_board.post(APP, {"old": gateway(), "new": gateway(built=False)}, 0.0)
    assert decided(scaler, 0, {}, 0.0)[0] == 0


def test_the_last_engine_stays_until_every_gateway_has_met_it():
    scaler = autoscaler()
    told(0.0, built=False)
    decided(scaler, 1, {"e": IDLE}, 0.0)
    told(IDLE_S, built=False)
    assert decided(scaler, 1, {"e": IDLE}, IDLE_S) == (1, ScalingReason.FIRST)
    told(IDLE_S + 1, built=True)
    assert decided(scaler, 1, {"e": IDLE}, IDLE_S + 1) == (0, ScalingReason.IDLE)


@pytest.mark.parametrize("target", [0, 1, 3])
def test_where_no_gateway_is_heard_of_nothing_changes(target, caplog):
    scaler = autoscaler()
    running = {f"e{number}": IDLE for number in range(target)}
    with caplog.at_level(logging.ERROR, "ray.serve"):
        for now_s in (0.0, BLIND_WARN_S - 1.0, BLIND_WARN_S, BLIND_WARN_S + 1.0):
            assert decided(scaler, target, running, now_s) == (target, ScalingReason.BLIND)
    (message,) = caplog.messages  # not with every look
    assert "no gateway has said anything of model demo for 60 s" in message


def test_gateways_of_other_models_alone_are_no_gateways_of_this_one():
    told(0.0)
    scaler = EnginesAutoscaler(
        model="another", limits=ScalingLimits(most=2), slo=Slo(), first=1, is_new=False
    )
    assert decided(scaler, 2, {"e": IDLE}, 0.0) == (2, ScalingReason.BLIND)


def test_a_scaler_begins_with_what_the_last_start_took():
    cluster_store.put(f"engine_start/{APP}/{ENGINES}", b'{"start_s": 12.5}')
    assert engine_starts.start_s(APP, ENGINES) == 12.5
    told(0.0)
    decision = autoscaler().decide(context(1, {"e": IDLE}), 0.0)
    assert decision.cold_start_s == 12.5


def test_an_engine_that_hangs_counts_as_none_of_those_that_serve():
    scaler = autoscaler(least=1)
    told(0.0)
    overloaded = {PREFIX + "running_requests": 4, PREFIX + "waiting_requests": 40}
    hung = context(1, {"e": overloaded})
    assert scaler.decide(hung, 0.0).target == 4
    told(60.0)
    assert scaler.decide(hung, 60.0).target == 1  # it said so long ago
