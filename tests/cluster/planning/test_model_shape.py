"""Shapes of models that there are, against what their makers say of them."""

from __future__ import annotations

import pytest

from cluster.planning import ShapeError
from cluster.planning.model_shape import shape_of
from tests.cluster.planning.configs import (
    DEEPSEEK_V3,
    GEMMA_LIKE,
    LLAMA_70B,
    MIXTRAL_8X7B,
    QWEN3_32B,
)


@pytest.mark.parametrize(
    ("config", "billions", "active_billions"),
    [
        # What their makers call them by: 32.8 B; 70.6 B; 46.7 B, 12.9 B a token; 671 B, 37 B a
        # token (the embedding counts there, and not here: 0.9 B); 1.0 B.
        pytest.param(QWEN3_32B, 32.8, 32.0, id="Qwen3-32B"),
        pytest.param(LLAMA_70B, 70.6, 69.5, id="Llama-3.1-70B"),
        pytest.param(MIXTRAL_8X7B, 46.7, 12.7, id="Mixtral-8x7B"),
        pytest.param(DEEPSEEK_V3, 671.0, 36.6, id="DeepSeek-V3"),
        pytest.param(GEMMA_LIKE, 1.0, 1.0, id="Gemma 3, 1B"),
    ],
)
def test_parameters(config, billions, active_billions):
    shape = shape_of(config)
    assert shape.params / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape.active_params / 1e9 == pytest.approx(active_billions, rel=0.01)


@pytest.mark.parametrize(
    ("config", "bytes_a_token"),
    [
        # 2 (keys, values) x layers x KV heads x head size x 2 bytes
        pytest.param(QWEN3_32B, 2 * 64 * 8 * 128 * 2, id="256 KiB"),
        pytest.param(LLAMA_70B, 2 * 80 * 8 * 128 * 2, id="320 KiB"),
        # layers x (rank + rotary) x 2 bytes
        pytest.param(DEEPSEEK_V3, 61 * (512 + 64) * 2, id="latent"),
    ],
)
def test_kv_bytes_of_a_token(config, bytes_a_token):
    assert shape_of(config).kv_elements(1) * 2 == bytes_a_token


def test_layers_with_a_window_keep_no_more_than_that():
    """Of 26 layers every sixth sees all: 4; the other 22 see 512 tokens."""
    shape = shape_of(GEMMA_LIKE)
    one = 2 * 1 * 256
    assert shape.kv_elements(100) == 26 * 100 * one
    assert shape.kv_elements(10_000) == (4 * 10_000 + 22 * 512) * one


def test_layer_types_say_which_have_a_window():
    kinds = ["full_attention"] + ["sliding_attention"] * 25
    shape = shape_of({**GEMMA_LIKE, "layer_types": kinds})
    assert shape.windows == [None] + [512] * 25


def test_a_window_that_is_not_used_is_none():
    shape = shape_of({**QWEN3_32B, "sliding_window": 4096})
    assert shape.windows == [None] * 64


def test_more_tokens_read_more_experts_and_no_more_than_all():
    mlp = shape_of(MIXTRAL_8X7B).mlps[0]
    reads = [mlp.read(tokens) for tokens in (1, 2, 8, 64, 10_000)]
    assert reads == sorted(reads)
    assert reads[0] == pytest.approx(mlp.active_params)
    assert reads[-1] == pytest.approx(mlp.params)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"num_hidden_layers": "64"}, "num_hidden_layers is '64', not a whole number"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_key_value_heads": 7}, "64 attention heads do not divide by 7"),
        ({"is_encoder_decoder": True}, "qwen3: models with an encoder"),
        ({"vision_config": {"a": 1}}, "qwen3 has vision_config"),
        ({"text_config": {"a": 1}}, "qwen3 has text_config"),
        ({"torch_dtype": "int3"}, "dtype 'int3' is none of float32"),
        (
            {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["full_attention"]},
            "layer_types has 1 of 64 layers",
        ),
        (
            {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["linear"] * 64},
            "layers of ['linear'] cannot be planned with",
        ),
    ],
)
def test_what_cannot_be_planned_with_is_refused_by_name(change, said):
    config = {name: value for name, value in {**QWEN3_32B, **change}.items() if value is not None}
    with pytest.raises(ShapeError) as caught:
        shape_of(config)
    assert said in str(caught.value)
