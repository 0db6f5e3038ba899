"""A trace's prefix blocks as the engine's: what two prompts share is the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.traces import workload
from cluster.simulation.workload import Names, Request, Workload, sped_up


@dataclass(frozen=True)
class Line:
    prompt_tokens: int
    output_tokens: int = 10
    block_ids: tuple[int, ...] = ()
    at_s: float = 0.0
    block_tokens: float = 512


def shared_blocks(one: Request, other: Request) -> int:
    """Leading blocks alike."""
    pairs = zip(one.blocks(), other.blocks(), strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), -1)


def test_prompts_share_the_blocks_that_the_trace_says_they_share() -> None:
    first, second = workload([Line(1500, 100, (0, 1, 2)), Line(1100, 100, (0, 1, 9))], 16).requests
    assert shared_blocks(first, second) == 1024 // 16


def test_a_last_block_that_is_not_full_is_shared_as_far_as_it_goes() -> None:
    first, second = workload([Line(700, 100, (0, 1)), Line(700, 100, (0, 1))], 16).requests
    assert shared_blocks(first, second) == 700 // 16


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 300)), min_size=1, max_size=6),
    block_tokens=st.sampled_from([16, 64, 512]),
    prefixes=st.booleans(),
)
def test_every_full_block_of_prompt_and_answer_has_a_name_of_its_own(
    sizes: list[tuple[int, int]], block_tokens: int, prefixes: bool
) -> None:
    lines = [
        Line(prompt, output, tuple(range(-(-prompt // 512))) if prefixes else ())
        for prompt, output in sizes
    ]
    requests = workload(lines, block_tokens).requests
    for line, request in zip(lines, requests, strict=True):
        names = request.blocks()
        assert len(names) == (line.prompt_tokens + line.output_tokens) // block_tokens
        assert len(set(names)) == len(names)
    if not prefixes:
        every = [name for request in requests for name in request.blocks()]
        assert len(set(every)) == len(every)


def test_blocks_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks of 512 tokens cannot be split into blocks of 48"):
        workload([Line(600, block_ids=(0, 1))], 48)


def test_a_trace_without_requests_is_refused() -> None:
    with pytest.raises(ValueError, match="without requests"):
        workload([], 16)


def test_speed_moves_arrivals_but_not_the_pauses_of_a_session() -> None:
    size = {"prompt_tokens": 1, "output_tokens": 1, "runs": ()}
    first = Request(arrival_s=10.0, **size)  # type: ignore[arg-type]
    follower = Request(arrival_s=3.0, follows=0, **size)  # type: ignore[arg-type]
    work = Workload(requests=[first, follower], block_tokens=4, max_output_tokens=1)
    assert [r.arrival_s for r in sped_up(work, 2.0).requests] == [5.0, 3.0]
    with pytest.raises(ValueError, match="a speed must be above 0 and finite, not 0"):
        sped_up(work, 0)
    with pytest.raises(ValueError, match="2 requests that arrive at once have no rate"):
        _ = work.rate_rps


def test_an_answer_may_not_be_longer_than_what_is_asked_for() -> None:
    work = workload([Line(10, 7)], 16)
    assert work.asking(9).max_output_tokens == 9
    with pytest.raises(ValueError, match="6 tokens at most, and an answer of 7"):
        work.asking(6)


def test_names_are_given_out_once() -> None:
    names = Names()
    assert [*names.take(3), *names.take(0), *names.take(2)] == [1, 2, 3, 4, 5]
