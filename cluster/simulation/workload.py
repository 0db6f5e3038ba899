"""What arrives: requests, and the names of the KV blocks that they fill.

Names are numbers that a workload counts up, given in runs, because a trace of 12,000 long prompts
has ten million blocks. They are spread over 64 bits when they are read, so that policies that look
at a name's bits see what a hash would show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cluster.types import BlockHash

_SPREAD = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, odd: multiplying by it permutes the 64-bit numbers (Fibonacci
hashing; Knuth, The Art of Computer Programming 3, 6.4)."""
_MASK = 2**64 - 1


class Names:
    """Gives out runs of names that nobody else has."""

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def take(self, size: int) -> range:
        run = range(self._next, self._next + size)
        self._next = run.stop
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a workload.

    `runs` names the full blocks of its prompt and its answer, first to last: at least
    (prompt_tokens + output_tokens) // block_tokens of them. `follows`: where in the workload the
    request is whose end this one waits for; `arrival_s` then counts from that end.
    """

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    runs: tuple[range, ...]
    session: str | None = None
    follows: int | None = None

    def blocks(self) -> list[BlockHash]:
        return [BlockHash(number * _SPREAD & _MASK) for run in self.runs for number in run]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests by rising arrival, a follower anywhere after what it follows.

    `max_output_tokens` is what every request asks for at most: the routers know it, and not the
    true length of an answer. `notes`: what was done to the trace, for the reader of a result.
    """

    requests: Sequence[Request]
    block_tokens: int
    max_output_tokens: int
    notes: Sequence[str] = field(default=())

    @property
    def span_s(self) -> float:
        """From the first arrival to the last."""
        arrivals_s = [r.arrival_s for r in self.requests if r.follows is None]
        return max(arrivals_s) - min(arrivals_s) if arrivals_s else 0.0

    @property
    def rate_rps(self) -> float:
        """Offered, on average: requests over `span_s`, followers included.

        Raises ValueError where all arrive at once.
        """
        if not self.span_s:
            raise ValueError(f"{len(self.requests)} requests that arrive at once have no rate")
        return len(self.requests) / self.span_s

    def asking(self, max_output_tokens: int) -> Workload:
        """The same with another limit. Raises ValueError where an answer is longer."""
        longest = max(request.output_tokens for request in self.requests)
        if max_output_tokens < longest:
            raise ValueError(f"{max_output_tokens} tokens at most, and an answer of {longest}")
        return replace(self, max_output_tokens=max_output_tokens)


def sped_up(workload: Workload, factor: float) -> Workload:
    """In 1 / `factor` of the time; pauses between a session's turns stay what they are, since they
    are people's. Raises ValueError for a factor that is not above 0."""
    if not 0 < factor < float("inf"):
        raise ValueError(f"a speed must be above 0 and finite, not {factor}")
    return replace(
        workload,
        requests=[
            replace(r, arrival_s=r.arrival_s / factor) if r.follows is None else r
            for r in workload.requests
        ],
    )
