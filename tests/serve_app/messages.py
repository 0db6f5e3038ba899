"""Every kind of message: what it may hold, how a peer decodes it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from vllm.v1.outputs import LogprobsLists

from cluster.types import BlockHash
from serve_app.wire import (
    WIRE_VERSION,
    Abort,
    Bye,
    Frames,
    Hello,
    Kind,
    KvAsk,
    Leaving,
    Load,
    OutputsCodec,
    Ready,
    RequestCodec,
    Result,
    Utility,
    buffer_of,
    kind_of,
    pack,
    unpack,
)
from serve_app.wire_cache import KvAll, KvBatch, pack_blocks
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
        Ready,
        counts,
        st.text(),
        counts,
        st.text(),
        st.text(),
        st.booleans(),
        reals,
        st.binary(),
        counts,
        counts,
    ),
    Kind.ABORT: st.builds(Abort, st.lists(st.text())),
    Kind.UTILITY: st.builds(Utility, counts, st.text(), st.lists(values, max_size=4)),
    Kind.RESULT: st.builds(Result, counts, st.none() | st.text(), values),
    Kind.LOAD: st.builds(
        Load,
        counts,
        counts,
        reals,
        counts,
        counts,
        counts,
        counts,
        counts,
        st.none() | st.tuples(reals, reals, reals),
    ),
    Kind.KV: st.builds(KvBatch, counts, st.binary(), st.binary(), st.booleans()),
    Kind.KV_ALL: st.builds(KvAll, counts, st.binary()),
    Kind.KV_ASK: st.just(KvAsk()),
    Kind.LEAVING: st.builds(Leaving, st.text()),
    Kind.BYE: st.builds(Bye, st.booleans(), st.text()),
}
STRUCTS = {Kind.HELLO: Hello, Kind.READY: Ready, Kind.ABORT: Abort, Kind.UTILITY: Utility,
           Kind.RESULT: Result, Kind.LOAD: Load, Kind.LEAVING: Leaving,
           Kind.KV: KvBatch, Kind.KV_ALL: KvAll, Kind.KV_ASK: KvAsk, Kind.BYE: Bye}  # fmt: skip


def decode(frames):
    """What a peer does with a message: find its kind, then decode it as that."""
    kind = kind_of(frames)
    if kind is Kind.ADD:
        return RequestCodec().decode(frames)
    if kind is Kind.STEP:
        return OutputsCodec().decode(frames)
    return unpack(frames, STRUCTS[kind])


def logprobs(positions: int, alternatives: int) -> LogprobsLists:
    shape = (positions, alternatives + 1)
    return LogprobsLists(
        np.arange(math.prod(shape), dtype=np.int32).reshape(shape),
        -np.linspace(0, 9, math.prod(shape), dtype=np.float32).reshape(shape),
        np.arange(positions, dtype=np.int32),
    )


VALID = [
    RequestCodec().encode(request("r", stop=["x"], logprobs=2)),
    OutputsCodec().encode(step(output("r", 1, 2, new_logprobs=logprobs(20, 5)))),
    OutputsCodec().encode(step(output("r", 1, new_logprobs=logprobs(1, 2)))),
    pack(Kind.HELLO, Hello(WIRE_VERSION, "switch")),
    pack(Kind.ABORT, Abort(["r", "other"])),
    pack(Kind.UTILITY, Utility(1, "add_lora", [["name", 7, "/path"]])),
    pack(Kind.READY, Ready(1, "e", 2, "n", "f", True, 0.5, b"core", 16, 4096)),
    pack(Kind.RESULT, Result(1, None, {"a": [1, 2.5, "x"]})),
    pack(Kind.LOAD, Load(1, 2, 0.5, 3, received=4, step_cost=(0.01, 1e-5, 1e-4))),
    pack(Kind.KV, KvBatch(7, pack_blocks([BlockHash(1), BlockHash(2)]), b"", False)),
    pack(Kind.KV_ALL, KvAll(6, pack_blocks([BlockHash(2**64 - 1)]))),
    pack(Kind.KV_ASK, KvAsk()),
    pack(Kind.LEAVING, Leaving("scaled down")),
    pack(Kind.BYE, Bye(True, "its core is dead")),
]


@st.composite
def damaged(draw: st.DrawFn, frames: Frames) -> list[bytes]:
    """A message with bytes changed, frames cut short, left out, doubled, or in another order."""
    found = [bytearray(buffer_of(frame)) for frame in frames]
    for _ in range(draw(st.integers(0, 4))):
        frame = draw(st.sampled_from(found[1:]))
        if frame:
            frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    rest = [bytes(frame) for frame in found[1:]]
    how = draw(st.sampled_from(["as it is", "cut", "less", "more", "shuffled"]))
    index = draw(st.integers(0, len(rest) - 1))
    if how == "cut":
        rest[index] = rest[index][: draw(st.integers(0, len(rest[index])))]
    elif how == "less":
        del rest[index]
    elif how == "more":
        rest.insert(index, rest[index])
    elif how == "shuffled":
        rest = draw(st.permutations(rest))
    return [bytes(found[0]), *rest]
