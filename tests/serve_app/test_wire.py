"""The wire: what goes in comes out, and nothing that comes in can raise anything but WireError."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.outputs import LogprobsLists

from serve_app.wire import (
    Abort,
    Bye,
    Hello,
    Kind,
    Load,
    OutputsCodec,
    Ready,
    RequestCodec,
    Result,
    Utility,
    WireError,
    kind_of,
    pack,
    unpack,
)
from tests.serve_app.builders import output, request, step

# Values that survive msgpack unchanged: tuples become lists and NaN is not equal to itself.
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
values = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
counts = st.integers(0, 2**63)
reals = st.floats(allow_nan=False)

BODIES = {
    Kind.HELLO: st.builds(Hello, counts, st.text()),
    Kind.READY: st.builds(
        Ready, counts, st.text(), counts, st.text(), st.text(), st.booleans(), reals, st.binary()
    ),
    Kind.ABORT: st.builds(Abort, st.lists(st.text())),
    Kind.UTILITY: st.builds(Utility, counts, st.text(), st.lists(values, max_size=4)),
    Kind.RESULT: st.builds(Result, counts, st.none() | st.text(), values),
    Kind.LOAD: st.builds(Load, counts, counts, reals, counts),
    Kind.BYE: st.builds(Bye, st.booleans(), st.text()),
}
STRUCTS = {Kind.HELLO: Hello, Kind.READY: Ready, Kind.ABORT: Abort, Kind.UTILITY: Utility,
           Kind.RESULT: Result, Kind.LOAD: Load, Kind.BYE: Bye}  # fmt: skip

NOT_HURRIED = settings(deadline=None)


def decode(frames):
    """What a peer does with a message: find its kind, then decode it as that."""
    kind = kind_of(frames)
    if kind is Kind.ADD:
        return RequestCodec().decode(frames)
    if kind is Kind.STEP:
        return OutputsCodec().decode(frames)
    return unpack(frames, STRUCTS[kind])


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


def logprobs(positions: int, alternatives: int) -> LogprobsLists:
    shape = (positions, alternatives + 1)
    return LogprobsLists(
        np.arange(math.prod(shape), dtype=np.int32).reshape(shape),
        -np.linspace(0, 9, math.prod(shape), dtype=np.float32).reshape(shape),
        np.arange(positions, dtype=np.int32),
    )


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


# What does not belong here


def malformed(*frames):
    with pytest.raises(WireError) as error:
        decode(list(frames))
    return str(error.value)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        pytest.param([], "0 frames", id="no frame"),
        pytest.param([b"H"], "1 frames", id="a kind without a body"),
        pytest.param([b"?", b"x"], "unknown message kind b'?'", id="an unknown kind"),
        pytest.param([b"", b"x"], "unknown message kind b''", id="an empty kind"),
        pytest.param([b"H" * 99, b"x"], "b'HHHHHHHHHHHHHHHH'", id="a long kind is cut"),
        pytest.param([b"H", b""], "not a Hello", id="an empty body"),
        pytest.param([b"H", b"\x92\x01"], "not a Hello", id="a body that is cut off"),
        pytest.param([b"H", b"\x92\xa1x\xa1x"], "Expected `int`", id="a field of another type"),
        pytest.param([b"H", b"\x92\x01\xa1\xff"], "not a Hello", id="text that is no UTF-8"),
        pytest.param([b"A", b"\x90"], "not a EngineCoreRequest", id="a request of no fields"),
    ],
)
def test_a_malformed_message_is_told_apart(frames, complaint):
    assert complaint in malformed(*frames)


def test_a_body_nested_without_end_is_malformed():
    bottomless = b"\x91" * 100_000 + b"\x90"
    assert "not a Utility" in malformed(b"U", b"\x93\x01\xa1m" + bottomless)
    assert "not a Result" in malformed(b"r", b"\x93\x01\xc0" + bottomless)
    assert "not a EngineCoreRequest" in malformed(b"A", bottomless)


def test_an_array_of_a_frame_that_did_not_come_is_malformed():
    frames = OutputsCodec().encode(step(output("r", new_logprobs=logprobs(100, 5))))
    assert "not a EngineCoreOutputs" in malformed(*frames[:-1])


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return (Path.touch, (self._mark,))


PICKLE, CLOUDPICKLE = 1, 2  # vLLM's extension codes


@pytest.mark.parametrize("code", [PICKLE, CLOUDPICKLE])
@pytest.mark.parametrize("kind", [Kind.ADD, Kind.STEP, Kind.UTILITY, Kind.RESULT])
def test_pickles_are_refused_unopened(tmp_path, kind, code):
    mark = tmp_path / "opened"
    bomb = msgspec.msgpack.Ext(code, pickle.dumps(Bomb(mark)))
    bodies = {Kind.ADD: [bomb], Kind.STEP: [0, [bomb]], Kind.UTILITY: [1, "m", [bomb]],
              Kind.RESULT: [1, None, bomb]}  # fmt: skip
    malformed(kind.value, msgspec.msgpack.encode(bodies[kind]))
    assert not mark.exists()


kinds = st.sampled_from([kind.value for kind in Kind]) | st.binary(max_size=2)
msgpacked = values.map(msgspec.msgpack.encode)
frames_of_anything = st.builds(
    lambda kind, rest: [kind, *rest], kinds, st.lists(st.binary() | msgpacked, max_size=4)
)


def survives(frames) -> None:
    """Decodes to what its kind says, or is refused; anything else that is raised fails the test."""
    try:
        value = decode(frames)
    except WireError:
        return
    types = {**STRUCTS, Kind.ADD: EngineCoreRequest, Kind.STEP: EngineCoreOutputs}
    assert isinstance(value, types[kind_of(frames)])


@settings(NOT_HURRIED, max_examples=300)
@given(frames_of_anything)
def test_arbitrary_frames_are_decoded_or_refused(frames):
    survives(frames)


VALID = [
    RequestCodec().encode(request("r", stop=["x"], logprobs=2)),
    OutputsCodec().encode(step(output("r", 1, 2, new_logprobs=logprobs(20, 5)))),
    OutputsCodec().encode(step(output("r", 1, new_logprobs=logprobs(1, 2)))),
    pack(Kind.UTILITY, Utility(1, "add_lora", [["name", 7, "/path"]])),
    pack(Kind.READY, Ready(1, "e", 2, "n", "f", True, 0.5, b"core")),
]


@settings(NOT_HURRIED, max_examples=300)
@given(st.sampled_from(VALID), st.data())
def test_damaged_messages_are_decoded_or_refused(frames, data):
    damaged = [bytearray(frame) for frame in frames]
    for _ in range(data.draw(st.integers(1, 4))):
        frame = data.draw(st.sampled_from(damaged[1:]))
        if frame:
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    survives(damaged)
