"""The gateways' policy: what they say goes to the board, and where their number may change, how."""

from __future__ import annotations

import pytest

from cluster.scaling.decision import ScalingReason
from cluster.scaling.gateway_scaler import STREAMS
from cluster.scaling.limits import ScalingLimits
from serve_app import scaling_board
from serve_app.gateways_autoscaler import GatewaysAutoscaler
from serve_app.scaling_context import SILENT_S
from serve_app.scaling_stats import gateway_stats
from tests.serve_app.scaling_contexts import APP, MODEL, context, gateway


@pytest.fixture(autouse=True)
def _empty_board() -> None:
    scaling_board.clear()


def gateways(target: int, **said):
    reports = {name: gateway_stats(stats) for name, stats in said.items()}
    return context(target, reports, deployment="Gateway")


def test_what_gateways_say_is_on_the_board_under_their_names():
    decision = GatewaysAutoscaler(None).decide(
        gateways(2, one=gateway(held=3), two=gateway(held=4)), 0.0
    )
    assert (decision.target, decision.reason) == (2, ScalingReason.FIXED)
    posted = scaling_board.gateways(APP, 0.0)
    assert {name: said.models[MODEL].signals.held_requests for name, said in posted.items()} == {
        "one": 3,
        "two": 4,
    }
    assert {said.models[MODEL].signals.id for said in posted.values()} == {"one", "two"}


def test_a_gateway_that_is_new_hangs_or_is_gone_is_not_on_the_board():
    policy = GatewaysAutoscaler(None)
    hung = gateways(2, one=gateway(held=3))
    policy.decide(hung, 0.0)
    policy.decide(hung, SILENT_S + 1.0)
    assert scaling_board.gateways(APP, SILENT_S + 1.0) == {}
    policy.decide(context(2, {"new": {}}, deployment="Gateway"), SILENT_S + 2.0)
    assert scaling_board.gateways(APP, SILENT_S + 2.0) == {}


def test_the_board_is_empty_again_where_nobody_posts_any_more():
    scaling_board.post(APP, {"g": gateway()}, 0.0)
    assert scaling_board.gateways(APP, scaling_board.OLD_S)
    assert not scaling_board.gateways(APP, scaling_board.OLD_S + 0.1)
    assert not scaling_board.gateways("another app", 0.0)


def test_streams_make_more_gateways_at_once_within_the_bounds():
    policy = GatewaysAutoscaler(ScalingLimits(least=1, most=3))
    said = gateway(streams=2 * STREAMS - 1)
    assert policy.decide(gateways(1, g=said), 0.0).target == 2
    said = gateway(streams=9 * STREAMS)
    assert policy.decide(gateways(2, g=said), 1.0).target == 3


def test_where_none_has_said_anything_their_number_stays():
    policy = GatewaysAutoscaler(ScalingLimits(least=1, most=3))
    for now_s in (0.0, 1000.0):
        decision = policy.decide(context(2, {}, deployment="Gateway"), now_s)
        assert (decision.target, decision.reason) == (2, ScalingReason.BLIND)
