"""The wire: what goes in comes out."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine import FinishReason

from serve_app.wire import Hello, Kind, OutputsCodec, RequestCodec, kind_of, pack, unpack
from tests.serve_app.builders import output, request, step
from tests.serve_app.messages import BODIES, decode, logprobs

NOT_HURRIED = settings(deadline=None)


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.name)
@NOT_HURRIED
@given(data=st.data())
def test_every_struct_comes_back_as_it_was(kind, data):
    body = data.draw(BODIES[kind])
    frames = pack(kind, body)
    assert kind_of(frames) is kind
    assert unpack(frames, type(body)) == body


def test_no_kind_is_forgotten_here():
    assert {*BODIES, Kind.ADD, Kind.STEP} == set(Kind)
    assert len({kind.value for kind in Kind}) == len(Kind)


@pytest.mark.parametrize("frame", [bytes, bytearray, memoryview, zmq.Frame])
def test_any_kind_of_buffer_is_read(frame):
    frames = [frame(part) for part in pack(Kind.HELLO, Hello(1, "x"))]
    assert decode(frames) == Hello(1, "x")


@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({}, id="greedy"),
        pytest.param({"seed": 7, "temperature": 0.5, "top_p": 0.9, "logprobs": 3}, id="sampled"),
        pytest.param({"stop": ["end"], "bad_words": ["x"], "min_tokens": 2}, id="stops"),
        pytest.param({"structured_outputs": StructuredOutputsParams(json='{"a":1}')}, id="grammar"),
        pytest.param({"extra_args": {"k": [1, 2]}, "logit_bias": {3: -1.0}}, id="extra arguments"),
    ],
)
def test_a_request_comes_back_as_it_was(sampling):
    sent = request("r", prompt=tuple(range(2000)), **sampling)
    received = RequestCodec().decode(RequestCodec().encode(sent))
    assert msgspec.structs.asdict(received) == msgspec.structs.asdict(sent)


def test_large_embeddings_travel_as_a_frame_of_their_own():
    embeds = torch.arange(64 * 32, dtype=torch.float32).reshape(64, 32)
    sent = msgspec.structs.replace(request("r"), prompt_token_ids=None, prompt_embeds=embeds)
    frames = RequestCodec().encode(sent)
    assert len(frames) == 3  # kind, message, tensor
    assert torch.equal(RequestCodec().decode(frames).prompt_embeds, embeds)


@pytest.mark.parametrize(
    ("positions", "alternatives", "frames_needed"),
    [(1, 5, 2), (100, 5, 5), (100, 0, 5), (0, 5, 2)],
    ids=["small arrays inline", "three large arrays", "one column", "no position"],
)
def test_logprobs_come_back_as_they_were(positions, alternatives, frames_needed):
    sent = logprobs(positions, alternatives)
    tokens = output("r", *range(positions), new_logprobs=sent, finish=FinishReason.STOP)
    frames = OutputsCodec().encode(step(tokens, output("other", 1)))
    assert len(frames) == frames_needed
    received, other = OutputsCodec().decode([zmq.Frame(bytes(f)) for f in frames]).outputs
    for array, expected in zip(received.new_logprobs[:3], sent[:3], strict=True):
        np.testing.assert_array_equal(array, expected)
    assert received.new_token_ids == list(range(positions))
    assert (received.finish_reason, other.new_token_ids) == (FinishReason.STOP, [1])


def test_what_the_api_server_gets_is_the_same_without_the_kind():
    outputs = step(output("r", 1, 2, new_logprobs=logprobs(100, 5)))
    kind, *rest = OutputsCodec().encode(outputs)
    assert kind == Kind.STEP.value
    assert [bytes(f) for f in OutputsCodec().encode_bare(outputs)] == [bytes(f) for f in rest]


def test_a_codec_is_good_for_any_number_of_messages():
    codec = OutputsCodec()
    for positions in (100, 1, 50):
        frames = codec.encode(step(output("r", new_logprobs=logprobs(positions, 3))))
        (received,) = codec.decode(frames).outputs
        assert len(received.new_logprobs.logprobs) == positions
