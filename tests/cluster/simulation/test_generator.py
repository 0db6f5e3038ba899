"""Made-up workloads: who shares what with whom."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.generator import Groups, workload
from cluster.simulation.workload import Request, Workload

BLOCK = 16


def made(groups: Groups, sessions: int, seed: int = 0) -> Workload:
    return workload(groups, [float(place) for place in range(sessions)], BLOCK, Random(seed))


def shared_tokens(one: Request, other: Request) -> int:
    alike = 0
    for a, b in zip(one.blocks(), other.blocks(), strict=False):
        if a != b:
            break
        alike += BLOCK
    return alike


SIZES = st.builds(
    Groups,
    groups=st.integers(1, 3),
    users=st.integers(1, 3),
    common_tokens=st.integers(0, 50),
    prefix_tokens=st.integers(0, 100),
    question_tokens=st.integers(1, 60),
    output_tokens=st.integers(1, 60),
    turns=st.integers(1, 4),
    pause_s=st.just(2.0),
    fresh_questions=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(groups=SIZES, sessions=st.integers(1, 8))
def test_a_turn_repeats_all_that_was_said_and_every_block_has_a_name(
    groups: Groups, sessions: int
) -> None:
    work = made(groups, sessions)
    assert len(work.requests) == sessions * groups.turns
    for request in work.requests:
        names = request.blocks()
        assert len(names) == (request.prompt_tokens + request.output_tokens) // BLOCK
        assert len(set(names)) == len(names)
        if request.follows is not None:
            last = work.requests[request.follows]
            assert request.session == last.session
            said = last.prompt_tokens + last.output_tokens
            assert request.prompt_tokens == said + groups.question_tokens
            assert shared_tokens(last, request) == said // BLOCK * BLOCK


@settings(max_examples=80, deadline=None)
@given(groups=SIZES, sessions=st.integers(2, 8))
def test_sessions_share_the_common_tokens_at_least_and_the_prefix_at_most(
    groups: Groups, sessions: int
) -> None:
    firsts = [r for r in made(groups, sessions).requests if r.follows is None]
    prefix = groups.common_tokens + groups.prefix_tokens
    most = prefix if groups.fresh_questions else prefix + groups.question_tokens
    for one, other in pairwise(firsts):
        alike = shared_tokens(one, other)
        assert groups.common_tokens // BLOCK * BLOCK <= alike <= most


def test_a_hot_group_has_its_share_and_the_others_the_rest() -> None:
    groups = Groups(
        groups=5, prefix_tokens=BLOCK, question_tokens=1, output_tokens=1, hot_group_frac=0.5
    )
    first_blocks = [request.blocks()[0] for request in made(groups, 2000).requests]
    counts = sorted((first_blocks.count(name) for name in set(first_blocks)), reverse=True)
    assert len(counts) == 5
    assert counts[0] == pytest.approx(1000, abs=100)
    assert all(count == pytest.approx(250, abs=70) for count in counts[1:])


def test_the_same_seed_makes_the_same_workload() -> None:
    groups = Groups(groups=9, users=4, prefix_tokens=40, question_tokens=10, output_tokens=5)
    assert made(groups, 30, seed=1) == made(groups, 30, seed=1) != made(groups, 30, seed=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 0}, "groups must be at least 1, not 0"),
        ({"prefix_tokens": -1}, "prefix_tokens must be at least 0, not -1"),
        ({"hot_group_frac": 1.5}, "hot_group_frac must be from 0 to 1, not 1.5"),
    ],
    ids=["no group", "a prefix of less than nothing", "more than all"],
)
def test_wrong_sizes_are_named(change: dict[str, float], message: str) -> None:
    sizes = {"groups": 1, "question_tokens": 1, "output_tokens": 1} | change
    with pytest.raises(ValueError, match=message):
        Groups(**sizes)  # type: ignore[arg-type]
