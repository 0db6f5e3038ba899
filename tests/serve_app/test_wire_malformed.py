"""What does not belong on the wire: nothing that comes in can raise anything but WireError."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest

from serve_app import wire
from serve_app.wire import Kind, OutputsCodec, WireError, kind_of
from tests.serve_app.builders import output, step
from tests.serve_app.messages import STRUCTS, VALID, damaged, decode, logprobs, values

NOT_HURRIED = settings(deadline=None)


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


@settings(NOT_HURRIED, max_examples=300)
@given(st.sampled_from(VALID).flatmap(damaged))
def test_damaged_messages_are_decoded_or_refused(frames):
    survives(frames)


def test_valid_messages_of_every_kind_are_damaged_here():
    assert {kind_of(frames) for frames in VALID} == set(Kind)
    for frames in VALID:
        survives(frames)


def test_a_frame_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    assert kind_of([b"H", bytes(100)]) is Kind.HELLO
    with pytest.raises(WireError, match="a frame has 101 bytes, at most 100 are allowed"):
        kind_of([b"H", b"", bytes(101)])
