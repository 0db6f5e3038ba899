"""The wire between a switch and an engine host: message kinds, frames, encoding. No sockets.

A message is a ZMQ multipart: one kind byte, then its body. `ADD` and `STEP` carry vLLM's own engine
protocol (`EngineCoreRequest`, `EngineCoreOutputs` in vLLM's msgpack, tensors as extra frames); the
rest are the structs below, and `wire_cache`'s for KV and KV_ALL. vLLM's pickle fallback is refused
by its decoder unless VLLM_ALLOW_INSECURE_SERIALIZATION is set, which `serve_app.engine` never does.

    switch -> host   HELLO, ADD, ABORT, UTILITY, KV_ASK
    host -> switch   READY, STEP, RESULT, LOAD, KV, KV_ALL, LEAVING, BYE

A switch speaks first (HELLO) on every connection; the host answers READY once its core runs. The
socket identity is new for every connection, so a host can never confuse two lives of one switch.

Errors:
    WireError: a frame that is not this protocol. The peer that sent it is dropped, nobody else.

Who may speak, and that nobody else can read it, is `wire_security`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, TypeVar

import msgspec
import zmq
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

WIRE_VERSION = 3
"""Raised with every change of this file that an older peer would misread."""

MAX_FRAME_BYTES = 512 * 2**20
"""Largest frame of a message. Far above any legal one: the largest is one image's pixels, about
150 MB for the largest that vLLM's processors make, whatever the body's size was. And one that is
encrypted within 0.8 s, in which its I/O thread does nothing else: less than a heartbeat's timeout.
"""

Frame = bytes | bytearray | memoryview | zmq.Frame
Frames = Sequence[Frame]


class WireError(Exception):
    """A message that does not follow this protocol; the text says what was wrong."""


class Kind(Enum):
    """First frame of every message."""

    HELLO = b"H"
    ADD = b"A"
    ABORT = b"X"
    UTILITY = b"U"
    READY = b"R"
    STEP = b"S"
    RESULT = b"r"
    LOAD = b"L"
    KV = b"K"
    KV_ALL = b"k"
    KV_ASK = b"q"
    LEAVING = b"Z"
    BYE = b"B"


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """A switch introduces itself. `switch_id` is for logs; the socket identity is its address."""

    version: int
    switch_id: str


class Ready(msgspec.Struct, array_like=True, frozen=True):
    """What a switch must know of an engine before it may route to it.

    `core_ready` is the engine core's own ready message, byte for byte, for the API server.
    `clock_s` is the host's monotonic clock when this was sent: engine timestamps are moved by it.
    `can_replay` is false where the engine cannot force tokens (speculative decoding, pooling).
    `block_tokens` is the size of its KV blocks, `kv_total_tokens` of all of them (0: unknown).
    `max_num_seqs` and `max_num_batched_tokens` bound its steps (None: unknown).
    """

    version: int
    engine_id: str
    pid: int
    node: str
    fingerprint: str
    can_replay: bool
    clock_s: float
    core_ready: bytes
    block_tokens: int
    kv_total_tokens: int
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


class Abort(msgspec.Struct, array_like=True, frozen=True):
    """Requests the switch no longer wants, by attempt id. Unknown ids are ignored."""

    request_ids: list[str]


class Utility(msgspec.Struct, array_like=True, frozen=True):
    """A vLLM utility call; `args` are plain msgpack values, converted by the core as it does."""

    call_id: int
    method: str
    args: list[Any]


class Result(msgspec.Struct, array_like=True, frozen=True):
    """The answer to a `Utility`: a value, or the failure's text."""

    call_id: int
    failure: str | None
    value: Any


class Load(msgspec.Struct, array_like=True, frozen=True):
    """The engine's own view of its load, over all switches, sent a few times a second.

    `steps` is the number of steps with output so far (it stands still when the engine is stuck).
    `bad_messages` is how often it dropped a switch because of one. The rest is what
    `cluster.types.LoadReport` says; `step_cost` has its three values in order.
    """

    running_requests: int
    waiting_requests: int
    kv_use_frac: float
    steps: int
    bad_messages: int = 0
    received: int = 0
    decode_requests: int = 0
    queued_prefill_tokens: int = 0
    step_cost: tuple[float, float, float] | None = None


class KvAsk(msgspec.Struct, array_like=True, frozen=True):
    """A switch missed a batch, and asks for all."""


class Leaving(msgspec.Struct, array_like=True, frozen=True):
    """The host is to be removed: send it nothing new, and move what another engine can take."""

    reason: str


class Bye(msgspec.Struct, array_like=True, frozen=True):
    """The host is going: its core died (`core_dead`) or it is being removed."""

    core_dead: bool
    reason: str


_Body = TypeVar("_Body", bound=msgspec.Struct)


def pack(kind: Kind, body: msgspec.Struct) -> list[Frame]:
    """Frames of a message whose body is one of this module's structs."""
    return [kind.value, msgspec.msgpack.encode(body)]


def refuse_oversized(sizes_bytes: Iterable[int]) -> None:
    """Raises WireError where one of a message's frames is over `MAX_FRAME_BYTES`."""
    largest_bytes = max(sizes_bytes)
    if largest_bytes > MAX_FRAME_BYTES:
        raise WireError(f"a frame has {largest_bytes} bytes, at most {MAX_FRAME_BYTES} are allowed")


def kind_of(frames: Frames) -> Kind:
    """The kind of a received message. Raises WireError on an empty, oversized or unknown one."""
    if len(frames) < 2:
        raise WireError(f"a message has {len(frames)} frames, at least 2 are needed")
    refuse_oversized(map(len, frames))
    first = bytes(buffer_of(frames[0]))
    try:
        return Kind(first)
    except ValueError:
        raise WireError(f"unknown message kind {first[:16]!r}") from None


def unpack(frames: Frames, body_type: type[_Body]) -> _Body:
    """The struct a message carries. Raises WireError where it does not decode to `body_type`."""
    # Not only msgspec's own errors: text that is no UTF-8 and endless nesting raise others.
    try:
        return msgspec.msgpack.decode(
            buffer_of(frames[1]), type=body_type, ext_hook=_refuse_extension
        )
    except Exception as error:
        raise WireError(f"not a {body_type.__name__}: {error}") from error


def _refuse_extension(code: int, data: memoryview) -> Any:
    # vLLM's pickles have extension codes; passed on to the core they would be its to refuse.
    raise ValueError(f"extension type {code} is not part of this protocol")


class RequestCodec:
    """vLLM's engine requests as frames. One per thread: vLLM's coders keep per-message state."""

    def __init__(self) -> None:
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreRequest)

    def encode(self, request: EngineCoreRequest) -> list[Frame]:
        """An ADD message. Raises WireError where a host would refuse it, and drop who sent it."""
        frames = [Kind.ADD.value, *self._encoder.encode(request)]
        refuse_oversized(memoryview(buffer_of(frame)).nbytes for frame in frames)
        return frames

    def decode(self, frames: Frames) -> EngineCoreRequest:
        """The request in `frames[1:]`. Raises WireError."""
        return _decode(self._decoder, frames, EngineCoreRequest)


class OutputsCodec:
    """vLLM's engine outputs as frames. One per thread, like `RequestCodec`."""

    def __init__(self) -> None:
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreOutputs)

    def encode(self, outputs: EngineCoreOutputs) -> list[Frame]:
        """A STEP message."""
        return [Kind.STEP.value, *self._encoder.encode(outputs)]

    def encode_bare(self, outputs: EngineCoreOutputs) -> list[Frame]:
        """The same without the kind frame: what the API server reads."""
        return list(self._encoder.encode(outputs))

    def decode(self, frames: Frames) -> EngineCoreOutputs:
        """The outputs in `frames[1:]`. Raises WireError."""
        return _decode(self._decoder, frames, EngineCoreOutputs)


_T = TypeVar("_T")


def _decode(decoder: MsgpackDecoder, frames: Frames, expected: type[_T]) -> _T:
    # vLLM's array hooks index into frames and trust shapes, so a hostile message can raise almost
    # anything; whatever it raises, the message is what is wrong.
    try:
        value = decoder.decode(frames[1:])
    except Exception as error:
        raise WireError(f"not a {expected.__name__}: {error}") from error
    if not isinstance(value, expected):
        raise WireError(f"not a {expected.__name__}: {type(value).__name__}")
    return value


def buffer_of(frame: Frame) -> bytes | bytearray | memoryview:
    """A frame's content, without copying it."""
    return frame.buffer if isinstance(frame, zmq.Frame) else frame
