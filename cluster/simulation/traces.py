"""A recorded trace as a workload: its prefix blocks are split into the engine's own.

`loadtest.traces` reads the files (Mooncake's JSON lines, Azure's CSV), for load tests as for this;
`Recorded` is what both agree on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from cluster.simulation.workload import Names, Request, Workload


class Recorded(Protocol):
    """One request of a trace. `block_ids` name its prompt's blocks of `block_tokens` tokens, the
    last one perhaps not full; empty where the trace says nothing, and then nothing is shared."""

    @property
    def at_s(self) -> float: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def block_ids(self) -> Sequence[int]: ...
    @property
    def block_tokens(self) -> float: ...


def workload(
    recorded: Iterable[Recorded], block_tokens: int, *, notes: Sequence[str] = ()
) -> Workload:
    """Raises ValueError where the trace's blocks cannot be split into blocks of `block_tokens`."""
    recorded = list(recorded)
    if not recorded:
        raise ValueError("a trace without requests")
    own = Names(1 + _shared_names(recorded, block_tokens))
    return Workload(
        requests=[_request(r, block_tokens, own) for r in recorded],
        block_tokens=block_tokens,
        max_output_tokens=max(r.output_tokens for r in recorded),
        notes=notes,
    )


def _shared_names(recorded: Sequence[Recorded], block_tokens: int) -> int:
    """How many names the trace's own blocks take."""
    most = 0
    for request in recorded:
        if request.block_ids:
            most = max(most, (max(request.block_ids) + 1) * _split(request, block_tokens))
    return most


def _split(request: Recorded, block_tokens: int) -> int:
    """Engine blocks in one of the trace's."""
    if block_tokens < 1 or request.block_tokens % block_tokens:
        raise ValueError(
            f"blocks of {request.block_tokens:g} tokens cannot be split into blocks of "
            f"{block_tokens}"
        )
    return int(request.block_tokens // block_tokens)


def _request(recorded: Recorded, block_tokens: int, own: Names) -> Request:
    full = recorded.prompt_tokens // block_tokens
    total = (recorded.prompt_tokens + recorded.output_tokens) // block_tokens
    runs: list[range] = []
    named = 0
    if recorded.block_ids:
        split = _split(recorded, block_tokens)
        for block_id in recorded.block_ids:
            size = min(split, full - named)
            if size > 0:
                runs.append(range(1 + block_id * split, 1 + block_id * split + size))
                named += size
    if total > named:
        runs.append(own.take(total - named))
    return Request(
        arrival_s=recorded.at_s,
        prompt_tokens=recorded.prompt_tokens,
        output_tokens=recorded.output_tokens,
        runs=tuple(runs),
    )
