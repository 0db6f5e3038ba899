"""What replicas report for scaling comes out of Serve's flat numbers as it went in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve._private.common import RUNNING_REQUESTS_KEY

from cluster.scaling.gateway_scaler import GatewayLoad
from cluster.scaling.signals import EngineSignals, EngineState, GatewaySignals
from cluster.types import LoadReport, ReplicaId, StepCost
from serve_app.scaling_stats import (
    GatewayStats,
    ModelStats,
    engine_signals,
    engine_stats,
    gateway_said,
    gateway_stats,
)

COUNTS = st.integers(0, 10**9)
SECONDS = st.floats(0, 1e6)
COSTS = st.none() | st.builds(
    StepCost, base_s=SECONDS, prefill_token_s=SECONDS, decode_request_s=SECONDS
)
LOADS = st.builds(
    LoadReport,
    running_requests=COUNTS,
    waiting_requests=COUNTS,
    decode_requests=COUNTS,
    queued_prefill_tokens=COUNTS,
    kv_use_frac=st.floats(0, 1),
    step_cost=COSTS,
)
NAMES = st.sampled_from(["demo", "org/demo", "built", "a/built", "streams", "a.b-c_d/built/x"])
MODELS = st.builds(
    ModelStats,
    signals=st.builds(
        GatewaySignals,
        id=st.just("g"),
        requests=COUNTS,
        prompt_tokens=COUNTS,
        output_tokens=COUNTS,
        ttft_total=COUNTS,
        ttft_sum_s=SECONDS,
        held_requests=COUNTS,
    ),
    built=st.booleans(),
)
GATEWAYS = st.builds(
    GatewayStats,
    load=st.builds(GatewayLoad, streams=COUNTS, loop_lag_s=st.none() | SECONDS),
    models=st.dictionaries(NAMES, MODELS, max_size=4),
)


@given(GATEWAYS)
@settings(max_examples=50, deadline=None)
def test_a_gateway_s_report_is_read_as_it_was_made(stats):
    said = gateway_stats(stats)
    assert all(isinstance(value, int | float) for value in said.values())
    assert gateway_said("g", said) == stats


@given(LOADS, COUNTS, COUNTS)
@settings(max_examples=50, deadline=None)
def test_an_engine_s_report_is_read_as_it_was_made(load, kv_tokens, blocks):
    said = engine_stats(load, kv_tokens, blocks)
    assert all(isinstance(value, int | float) for value in said.values())
    assert engine_signals("e", said) == EngineSignals(
        id=ReplicaId("e"),
        state=EngineState.READY,
        running_requests=load.running_requests,
        waiting_requests=load.waiting_requests,
        decode_requests=load.decode_requests,
        queued_prefill_tokens=load.queued_prefill_tokens,
        kv_use_frac=load.kv_use_frac,
        kv_total_tokens=kv_tokens,
        cached_blocks=blocks,
        step_cost=load.step_cost,
    )


def test_an_engine_that_has_said_nothing_is_idle():
    assert engine_signals("e", {}) == EngineSignals(id=ReplicaId("e"), state=EngineState.READY)


def test_what_a_gateway_has_not_said_is_no_report():
    assert gateway_said("g", {}) is None


def test_no_key_is_one_of_serve_s_own():
    said = gateway_stats(GatewayStats(load=GatewayLoad(streams=1)))
    assert RUNNING_REQUESTS_KEY not in engine_stats(LoadReport(), 0, 0).keys() | said.keys()
