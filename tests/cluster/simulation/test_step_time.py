"""Step-time models: fitted to measured steps, and worked out from data sheets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.roofline import GPUS, MODELS, Efficiency, Roofline, kv_tokens
from cluster.simulation.step_time import Fitted, Observed, StepWork, fit

IDEAL = Efficiency(
    compute_frac=1.0, memory_frac=1.0, link_frac=1.0, all_reduce_latency_s=0.0, overhead_s=0.0
)
H100, LLAMA_8B = GPUS["H100"], MODELS["Llama-3.1-8B"]


def prefill(tokens: int) -> StepWork:
    return StepWork(1, tokens, tokens * (tokens + 1) / 2, tokens)


def decode(requests: int, context: int) -> StepWork:
    return StepWork(decode_requests=requests, context_tokens=requests * context)


WORKS = [prefill(n) for n in (1, 100, 5000)] + [
    decode(n, context) for n in (1, 7, 90) for context in (10, 3000)
]


@settings(max_examples=40, deadline=None)
@given(
    base_s=st.floats(1e-3, 0.1),
    prefill_token_s=st.floats(1e-6, 1e-3),
    decode_request_s=st.floats(1e-5, 1e-2),
    context_token_s=st.floats(1e-9, 1e-6),
)
def test_a_fit_to_a_linear_engines_steps_is_that_engine(**coefficients: float) -> None:
    engine = Fitted(**coefficients)
    found = fit([Observed(work, engine.step_s(work)) for work in WORKS])
    for work in WORKS:
        assert found.step_s(work) == pytest.approx(engine.step_s(work), rel=1e-6)


def test_no_coefficient_is_below_zero() -> None:
    shrinking = [Observed(decode(n, 100), 1 - 0.001 * n) for n in range(1, 50)]
    found = fit(shrinking)
    assert min(found.decode_request_s, found.context_token_s) == 0
    assert found.base_s == pytest.approx(0.975, rel=0.01)


def test_terms_that_were_never_seen_are_zero() -> None:
    found = fit([Observed(decode(n, 100), 0.01 + 1e-4 * n) for n in range(1, 50)])
    assert found.prefill_token_s == 0


def test_a_fit_needs_steps_that_took_time() -> None:
    with pytest.raises(ValueError, match="no step"):
        fit([])
    with pytest.raises(ValueError, match="step_s must be above 0, not 0"):
        fit([Observed(decode(1, 1), 0)])
    with pytest.raises(ValueError, match="base_s must be at least 0, not -1"):
        Fitted(base_s=-1)


@pytest.mark.parametrize(
    ("model", "billions"),
    [("Llama-3.1-8B", 8.03), ("Qwen3-32B", 32.8), ("Llama-3.1-70B", 70.6), ("Llama-2-70B", 69.0)],
)
def test_models_have_as_many_parameters_as_they_say(model: str, billions: float) -> None:
    assert MODELS[model].params / 1e9 == pytest.approx(billions, rel=0.003)


def test_a_small_decode_step_reads_the_weights_once() -> None:
    """(8.03 - 0.53 of the embedding) billion weights of 2 bytes at 3.35 TB/s are 4.5 ms."""
    step_s = Roofline(H100, LLAMA_8B, efficiency=IDEAL).step_s(decode(1, 1))
    assert step_s == pytest.approx(4.48e-3, rel=0.005)


def test_a_long_prefill_computes() -> None:
    """8,192 tokens, 6.98 billion weights in layers, 2 flops each, and 524,288 flops for each of
    33.6 million pairs of tokens: 132 TFLOP at 989.4 a second."""
    step_s = Roofline(H100, LLAMA_8B, efficiency=IDEAL).step_s(prefill(8192))
    assert step_s == pytest.approx(0.1334, rel=0.005)


def test_context_is_read_at_128_kib_a_token() -> None:
    engine = Roofline(H100, LLAMA_8B, efficiency=IDEAL)
    grown_s = engine.step_s(decode(1, 100_001)) - engine.step_s(decode(1, 1))
    assert grown_s == pytest.approx(100_000 * 131_072 / 3.35e12)


def test_gpus_share_the_work_and_pay_for_talking() -> None:
    one, four = (Roofline(H100, LLAMA_8B, gpus) for gpus in (1, 4))
    for work in (prefill(8192), decode(200, 4000)):
        assert one.step_s(work) / 4 < four.step_s(work) < one.step_s(work)


def test_kv_takes_what_weights_leave() -> None:
    """8B on one H100: 72 GB less 16.06 of weights and 2 kept free, at 128 KiB a token."""
    assert kv_tokens(H100, LLAMA_8B) == int((72e9 - 2 * LLAMA_8B.params - 2e9) // 131_072)
    with pytest.raises(ValueError, match="66 GB of weights leave no room for KV on 1 GPUs of 24"):
        kv_tokens(GPUS["L4"], MODELS["Qwen3-32B"])
