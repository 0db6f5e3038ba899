"""How many gateways."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scaling.decision import ScalingReason
from cluster.scaling.gateway_scaler import COLD_START_S, LAG_S, STREAMS, GatewayLoad, GatewayScaler
from cluster.scaling.limits import ScalingLimits

R = ScalingReason
CASES = [
    ("idle", [(0, 0.0)], 1, 1, R.STEADY),
    ("as many streams as one bears", [(STREAMS, 0.01)], 1, 1, R.STEADY),
    ("more", [(STREAMS + 1, 0.01)], 1, 2, R.LOAD),
    ("every loop lags", [(9, 2 * LAG_S), (9, 3 * LAG_S)], 2, 3, R.LOAD),
    ("one has room", [(9, 0.001), (9, 3 * LAG_S)], 2, 2, R.STEADY),
    ("every loop lags, and one is to come", [(9, 2 * LAG_S)], 2, 2, R.STEADY),
    ("no lag is known", [(9, None)], 1, 1, R.STEADY),
    ("beyond the bound", [(9 * STREAMS, 0.01)], 1, 4, R.AT_MOST),
]


@pytest.mark.parametrize(
    ("gateways", "target", "wanted", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_decisions(
    gateways: list[tuple[int, float | None]], target: int, wanted: int, reason: ScalingReason
) -> None:
    loads = [GatewayLoad(streams=streams, loop_lag_s=lag_s) for streams, lag_s in gateways]
    decision = GatewayScaler(ScalingLimits(most=4)).decide(loads, target, 0.0)
    assert (decision.target, decision.reason) == (wanted, reason)


def test_one_too_many_goes_late() -> None:
    scaler, target = GatewayScaler(ScalingLimits(most=4)), 2
    falls = []
    for second in range(200):
        loads = [GatewayLoad(streams=9, loop_lag_s=0.001)] * target
        decision = scaler.decide(loads, target, float(second))
        if decision.target < target:
            falls.append((second, decision.reason))
        target = decision.target
    assert falls == [(2 * COLD_START_S, R.SURPLUS)]


@settings(max_examples=50, deadline=None)
@given(
    loads=st.lists(st.tuples(st.integers(0, 9000), st.floats(0, 2)), max_size=9),
    target=st.integers(0, 9),
    least=st.integers(0, 3),
)
def test_there_is_always_one_and_never_too_many(
    loads: list[tuple[int, float]], target: int, least: int
) -> None:
    gateways = [GatewayLoad(streams=streams, loop_lag_s=lag_s) for streams, lag_s in loads]
    decision = GatewayScaler(ScalingLimits(least=least, most=5)).decide(gateways, target, 0.0)
    assert max(1, least) <= decision.target <= 5
