"""Which requests can only be replayed, and which cannot be moved at all."""

from __future__ import annotations

import msgspec
import pytest
import torch
from vllm.sampling_params import (
    RepetitionDetectionParams,
    SamplingParams,
    StructuredOutputsParams,
)

from cluster.failover import RequestTraits
from serve_app.resume import traits
from tests.serve_app.builders import pooling_request, request

STATELESS = RequestTraits(stateful_sampling=False, resumable=True)
STATEFUL = RequestTraits(stateful_sampling=True, resumable=True)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        pytest.param({}, STATELESS, id="greedy"),
        pytest.param({"temperature": 1.0}, STATELESS, id="unseeded sampling"),
        pytest.param({"temperature": 1.0, "seed": 0}, STATEFUL, id="a seed of 0 is a seed"),
        pytest.param({"seed": 1}, STATELESS, id="greedy ignores its seed"),
        pytest.param({"presence_penalty": -0.5}, STATEFUL, id="a negative presence penalty"),
        pytest.param({"frequency_penalty": 0.1}, STATEFUL, id="a frequency penalty"),
        pytest.param({"repetition_penalty": 1.5}, STATELESS, id="it counts the prompt too"),
        pytest.param({"min_tokens": 3, "min_p": 0.1, "logprobs": 2}, STATELESS, id="no history"),
        pytest.param({"bad_words": []}, STATELESS, id="no bad word"),
        pytest.param({"bad_words": ["x"]}, STATEFUL, id="bad words"),
        pytest.param({"structured_outputs": StructuredOutputsParams(json={})}, STATEFUL, id="JSON"),
        pytest.param(
            {"repetition_detection": RepetitionDetectionParams(max_pattern_size=4, min_count=3)},
            STATEFUL,
            id="repetition detection",
        ),
        pytest.param({"thinking_token_budget": 5}, STATEFUL, id="a budget for thinking"),
        pytest.param({"trace_decode_token_ids": [5, 6]}, STATEFUL, id="a trace, by position"),
        pytest.param({"extra_args": {"mine": 1}}, STATEFUL, id="a custom processor's arguments"),
    ],
)
def test_traits_of_sampling(sampling, expected):
    assert traits(request("r", **sampling)) == expected


WITH_STATE = {
    "seed", "presence_penalty", "frequency_penalty", "structured_outputs", "thinking_token_budget",
    "repetition_detection", "bad_words", "_bad_words_token_ids", "watermarking",
    "_watermarking_skipped", "trace_decode_token_ids", "extra_args",
}  # fmt: skip
USED_UP = {"max_tokens", "min_tokens", "prompt_logprobs", "prompt_logprob_token_ids",
           "prompt_logprob_start"}  # fmt: skip
BY_TOKEN_ALONE = {
    "repetition_penalty", "temperature", "top_p", "top_k", "min_p", "logit_bias",
    "allowed_token_ids", "stop_token_ids", "ignore_eos", "_eos_token_id", "_all_stop_token_ids",
    "logprobs", "logprob_token_ids", "flat_logprobs",
}  # fmt: skip
NOT_THE_ENGINE_S = {
    "n", "stop", "detokenize", "skip_special_tokens", "spaces_between_special_tokens",
    "include_stop_str_in_output", "output_kind", "stream_interval", "skip_clone",
    "output_text_buffer_length", "skip_reading_prefix_cache", "routed_experts_prompt_start",
}  # fmt: skip


def test_every_sampling_parameter_of_vllm_has_been_thought_of():
    """A new one must be sorted: does the next token depend on more than the tokens so far?"""
    known = WITH_STATE | USED_UP | BY_TOKEN_ALONE | NOT_THE_ENGINE_S
    unsorted = known ^ set(SamplingParams.__struct_fields__)
    assert unsorted == set(), f"add to or remove from serve_app/resume.py and here: {unsorted}"


@pytest.mark.parametrize(
    ("sent", "resumable"),
    [
        pytest.param(request("r"), True, id="an ordinary request"),
        pytest.param(pooling_request(), True, id="a pooling request"),
        pytest.param(msgspec.structs.replace(request("r"), resumable=True), False, id="streamed"),
        pytest.param(
            msgspec.structs.replace(request("r"), prompt_embeds=torch.zeros(3, 8)),
            False,
            id="embeddings",
        ),
    ],
)
def test_traits_of_prompts(sent, resumable):
    assert traits(sent).resumable is resumable
