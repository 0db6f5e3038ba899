"""What is streamed adds up to what comes in one piece; both are strictly checked by the SDK."""

import asyncio
from dataclasses import replace

import pytest

from loadtest.chaos.kinds import KINDS, Kind
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, play_all
from tests.integration.test_failover_matrix import assert_same

# Not tools: a call cut short is tool call deltas in a stream, and text in a whole answer.
KINDS_SHORT = [
    Kind(kind.name, {**kind.body, "max_tokens": 60, "min_tokens": 0})
    for kind in KINDS
    if not kind.body.keys() & {"prompt_logprobs", "tools"}
]


@pytest.fixture(scope="module")
def played(fleet: Fleet) -> dict[tuple[str, bool], Played]:
    """Every kind by name and whether it was streamed."""
    kinds = [replace(kind, stream=stream) for kind in KINDS_SHORT for stream in (True, False)]
    return {(p.kind.name, p.kind.stream): p for p in asyncio.run(play_all(fleet, kinds))}


@pytest.mark.parametrize("name", [kind.name for kind in KINDS_SHORT])
def test_a_stream_adds_up_to_the_whole_answer(
    played: dict[tuple[str, bool], Played], name: str
) -> None:
    streamed, whole = played[name, True], played[name, False]
    assert len(streamed.parts) > len(whole.parts) == 1
    assert_same(streamed.answer, whole.answer)
