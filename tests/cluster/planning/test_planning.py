"""What fits, how fast it is and how many engines it takes: against figures that were printed or
measured, by hand, and over any load."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.planning import InfeasibleError
from cluster.planning.memory import (
    MEMORY_BYTES,
    Placement,
    memory_of,
    requests_that_fit,
    weight_bytes,
)
from cluster.planning.model_shape import shape_of
from cluster.planning.plan import Wanted, plans
from cluster.planning.speed import EngineSpeed
from cluster.scaling.limits import Slo
from cluster.simulation.roofline import GPUS, MODELS, Roofline
from cluster.simulation.step_time import StepWork
from tests.cluster.planning.configs import (
    DEEPSEEK_V3,
    GEMMA_LIKE,
    LLAMA_70B,
    MIXTRAL_8X7B,
    QWEN3_32B,
)

QWEN = shape_of(QWEN3_32B)
ALL = [shape_of(c) for c in (QWEN3_32B, LLAMA_70B, MIXTRAL_8X7B, DEEPSEEK_V3, GEMMA_LIKE)]
WANTED = Wanted(
    gpu="H100",
    gpus=16,
    slo=Slo(ttft_s=0.5, tpot_s=0.05),
    rate_per_s=20.0,
    prompt_tokens=2000,
    output_tokens=300,
)


def kv_tokens(shape, total_bytes=MEMORY_BYTES["H100"], **placement) -> int:
    return memory_of(shape, Placement(**placement), total_bytes).kv_tokens


# Memory


def test_kv_tokens_are_what_vllm_printed_for_qwen3_32b_on_two_h100():
    assert kv_tokens(QWEN, tp=2) == pytest.approx(307_328, rel=0.05)


def test_weights_by_format():
    """32.8 billion parameters, of which the embedding and the head (1.56) stay in 16 bits."""
    assert weight_bytes(QWEN, "none") == pytest.approx(65.5e9, rel=0.01)
    assert weight_bytes(QWEN, "fp8") == pytest.approx(31.2e9 + 3.1e9, rel=0.01)
    assert weight_bytes(QWEN, "w4a16") == pytest.approx(31.2e9 * 0.516 + 3.1e9, rel=0.01)


def test_a_latent_is_on_every_gpu_and_heads_are_shared():
    deepseek = shape_of(DEEPSEEK_V3)
    for shape, parts in ((deepseek, 1), (QWEN, 8)):
        one, many = (
            memory_of(shape, Placement(tp=tp), MEMORY_BYTES["H200"]).kv_token_bytes
            for tp in (1, 16)
        )
        assert one / many == pytest.approx(parts)


def test_a_cache_of_half_the_bytes_holds_twice_the_tokens():
    assert kv_tokens(QWEN, tp=2, kv_cache_dtype="fp8") // 2 == pytest.approx(
        kv_tokens(QWEN, tp=2), abs=1
    )


@given(
    st.sampled_from(ALL),
    st.sampled_from([1, 2, 4, 8]),
    st.floats(10e9, 200e9),
    st.floats(0, 50e9),
)
def test_more_memory_never_fits_less(shape, tp, total_bytes, more_bytes):
    less, more = (
        memory_of(shape, Placement(tp=tp), each) for each in (total_bytes, total_bytes + more_bytes)
    )
    assert less.kv_tokens <= more.kv_tokens


@given(st.sampled_from(ALL), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_more_gpus_and_smaller_weights_never_fit_less(shape, tp, pp):
    here = Placement(tp=tp, pp=pp)
    total_bytes = MEMORY_BYTES["H200"]
    fit = requests_that_fit(shape, here, memory_of(shape, here, total_bytes), 2000)
    for other in (
        replace(here, tp=2 * tp),
        replace(here, pp=2 * pp),
        replace(here, quantization="fp8"),
        replace(here, quantization="w4a16"),
        replace(here, kv_cache_dtype="fp8"),
    ):
        there = requests_that_fit(shape, other, memory_of(shape, other, total_bytes), 2000)
        assert there >= fit * (1 - 1e-9)


@given(st.sampled_from(ALL), st.integers(1, 30_000), st.integers(1, 10_000))
def test_longer_requests_never_fit_more(shape, tokens, more):
    here = Placement(tp=8)
    memory = memory_of(shape, here, MEMORY_BYTES["H200"])
    fit, less = (requests_that_fit(shape, here, memory, each) for each in (tokens, tokens + more))
    assert less <= fit


# Speed


@pytest.mark.parametrize("tp", [2, 4, 8])
@pytest.mark.parametrize(
    ("prefill", "decodes", "context"), [(2000, 0, 0), (8192, 0, 0), (0, 1, 500), (0, 64, 2000)]
)
def test_a_dense_model_s_steps_are_the_simulator_s(tp, prefill, decodes, context):
    shape = shape_of(LLAMA_70B)
    simulated = Roofline(GPUS["H100"], MODELS["Llama-3.1-70B"], tp).step_s(
        StepWork(
            prefill_requests=int(prefill > 0),
            prefill_tokens=prefill,
            prefill_pairs=prefill * (prefill + 1) / 2,
            decode_requests=decodes,
            context_tokens=decodes * context,
        )
    )
    planned = EngineSpeed(shape, Placement(tp=tp), GPUS["H100"]).step_s(
        prefill_tokens=prefill, decode_requests=decodes, context=context
    )
    assert planned == pytest.approx(simulated, rel=0.02)


def test_a_model_of_experts_reads_what_its_tokens_take():
    """Two of eight for one token; nearly all for 64."""
    shape = shape_of(MIXTRAL_8X7B)
    speed = EngineSpeed(shape, Placement(tp=1), GPUS["H200"])
    one, many = (speed.step_s(decode_requests=count, context=1.0) for count in (1, 64))
    overhead = speed.efficiency.overhead_s
    assert (many - overhead) / (one - overhead) == pytest.approx(46.6 / 12.7, rel=0.02)


# Number


def test_the_cheapest_comes_first():
    found = plans(QWEN, WANTED)
    assert [plan.gpus for plan in found] == sorted(plan.gpus for plan in found)
    assert all(plan.gpus <= WANTED.gpus for plan in found)
    assert all(plan.ttft_s <= 0.5 and plan.tpot_s <= 0.05 for plan in found)
    assert all(plan.replicas * plan.rate_per_s >= WANTED.rate_per_s for plan in found)


@settings(max_examples=50)
@given(st.floats(0.1, 30.0), st.floats(1.0, 3.0))
def test_more_load_never_needs_fewer_gpus(rate_per_s, times):
    wanted = replace(WANTED, gpus=4096, rate_per_s=rate_per_s)
    few, many = (
        plans(QWEN, each)[0].gpus
        for each in (wanted, replace(wanted, rate_per_s=rate_per_s * times))
    )
    assert few <= many


@pytest.mark.parametrize(
    ("config", "change", "said"),
    [
        (LLAMA_70B, {"gpus": 1}, "memory: 131.4 GiB of weights"),
        (QWEN3_32B, {"gpus": 2}, "number: the load needs 12 x H100"),
        (QWEN3_32B, {"slo": Slo(ttft_s=0.01, tpot_s=0.05)}, "TTFT: a prompt of 2000 tokens takes"),
        (QWEN3_32B, {"slo": Slo(ttft_s=0.5, tpot_s=0.001)}, "TPOT: a step takes"),
        (QWEN3_32B, {"prompt_tokens": 50_000}, "the model's context 40960"),
    ],
)
def test_where_there_is_no_plan_it_is_said_what_binds(config, change, said):
    with pytest.raises(InfeasibleError) as caught:
        plans(shape_of(config), replace(WANTED, **change))
    assert said in str(caught.value)


def test_a_model_that_is_too_large_for_a_node_is_cut_into_stages():
    """671 GB in 8 bits on 8 GPUs of 80 GB fit in no layout; on 16 they do."""
    wanted = replace(WANTED, quantization="fp8", slo=Slo(ttft_s=10.0, tpot_s=1.0), rate_per_s=0.1)
    shape = shape_of(DEEPSEEK_V3)
    with pytest.raises(InfeasibleError, match="memory"):
        plans(shape, replace(wanted, gpus=8))
    assert {plan.placement.gpus for plan in plans(shape, wanted)} == {16}
