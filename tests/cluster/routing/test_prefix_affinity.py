"""The longest prefix that was sent somewhere wins, within the bounds of load and of memory."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.prefix_affinity import LOAD_BOUND, PrefixAffinity
from cluster.types import BlockHash, ReplicaSnapshot, RouteDecision, RouteReason, RouteRequest
from tests.cluster.builders import Draw, replica

IDLE = [replica("a"), replica("b"), replica("c")]


def send(
    router: PrefixAffinity,
    blocks: list[int],
    replicas: list[ReplicaSnapshot] = IDLE,
    draw: int = 0,
) -> RouteDecision:
    request = RouteRequest(
        prompt_tokens=16 * len(blocks),
        max_output_tokens=4,
        blocks=[BlockHash(block) for block in blocks],
    )
    return router.choose(request, replicas, Draw(draw))


def only(name: str) -> list[ReplicaSnapshot]:
    """Candidates of which that one is picked, whatever it and others hold."""
    return [replica(name), replica("x", 9999), replica("y", 9999)]


@pytest.fixture
def router() -> PrefixAffinity:
    """1 2 3 4 went to a, 1 2 5 to b."""
    router = PrefixAffinity()
    send(router, [1, 2, 3, 4], only("a"))
    send(router, [1, 2, 5], only("b"))
    return router


@pytest.mark.parametrize(
    ("blocks", "replicas", "picked", "reason"),
    [
        pytest.param([1, 2, 3, 9], IDLE, "a", RouteReason.AFFINITY, id="three blocks beat two"),
        pytest.param([1, 2, 5, 4], IDLE, "b", RouteReason.AFFINITY, id="a later match is none"),
        pytest.param(
            [1, 2, 9],
            [replica("a", 20), replica("b", 10), replica("c", 0)],
            "b",
            RouteReason.AFFINITY,
            id="of two that hold as much the less loaded",
        ),
        pytest.param(
            [1, 2, 3],
            [replica("a", 900), replica("b", 0), replica("c", 10)],
            "b",
            RouteReason.SPILLED,
            id="the holder has too much to do",
        ),
        pytest.param(
            [9, 3, 4],
            [replica("a", 5), replica("b", 5), replica("c", 4)],
            "c",
            RouteReason.LEAST_LOADED,
            id="what is no prefix counts for nothing",
        ),
        pytest.param(
            [], [replica("a", 5), replica("c", 4)], "c", RouteReason.LEAST_LOADED, id="no block"
        ),
        pytest.param(
            [1, 2, 3, 4],
            [replica("b", 5), replica("c", 4)],
            "b",
            RouteReason.AFFINITY,
            id="the best holder has left, the next best is here",
        ),
    ],
)
def test_the_pick_and_its_reason(router, blocks, replicas, picked, reason):
    decision = send(router, blocks, replicas)
    assert (decision.replica_id, decision.reason) == (picked, reason)


def test_a_request_follows_where_the_prefix_spilled_to(router):
    busy = [replica("a", 900), replica("b", 10), replica("c", 0)]
    assert send(router, [1, 2, 3, 4], busy).replica_id == "c"
    again = send(router, [1, 2, 3, 4], busy)
    assert (again.replica_id, again.reason) == ("c", RouteReason.AFFINITY)


def test_the_blocks_used_last_are_remembered_and_the_ends_of_prompts_go_first():
    router = PrefixAffinity(max_blocks=4)
    send(router, [1, 2, 3], only("a"))
    send(router, [7, 8], only("b"))  # 3, the end of what was used longest ago, is dropped
    assert send(router, [1, 2, 9], IDLE).replica_id == "a"
    assert send(router, [3], [replica("a", 1), replica("c", 0)]).reason is RouteReason.LEAST_LOADED


def test_no_memory_at_all_is_refused():
    with pytest.raises(ValueError, match="max_blocks: 0 is below the minimum 1"):
        PrefixAffinity(max_blocks=0)


prompts = st.lists(st.integers(1, 4), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(prompts, st.sampled_from("abc")), max_size=8),
    prompts,
    st.lists(st.sampled_from([0, 10, 100]), min_size=3, max_size=3),
)
def test_it_picks_as_one_that_remembers_every_prompt(sent, blocks, tokens):
    """The oracle: every prompt that each replica got, compared block by block."""
    router = PrefixAffinity()
    got: dict[str, set[int]] = {"a": set(), "b": set(), "c": set()}
    for prompt, name in sent:
        send(router, prompt, only(name))
        got[name] |= set(prompt)
    replicas = [replica(name, load) for name, load in zip("abc", tokens, strict=True)]

    def matched(name: str) -> int:
        return next((n for n, block in enumerate(blocks) if block not in got[name]), len(blocks))

    longest = max(map(matched, "abc"))
    most = LOAD_BOUND * sum(tokens) / 3 + 16 * len(blocks) + 4
    holders = [r for r in replicas if longest and matched(r.id) == longest]
    able = [r for r in holders if r.outstanding_tokens <= most] or replicas
    least = min(r.outstanding_tokens for r in able)
    picked = {send(copy.deepcopy(router), blocks, replicas, draw).replica_id for draw in range(6)}
    assert picked == {r.id for r in able if r.outstanding_tokens == least}
