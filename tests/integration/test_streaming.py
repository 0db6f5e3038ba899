"""What is streamed adds up to what comes in one piece; both are strictly checked by the SDK."""

import asyncio
from dataclasses import replace

import pytest

from tests.integration.fleet import Fleet
from tests.integration.kinds import KINDS, Kind
from tests.integration.playing import play_all
from tests.integration.test_failover_matrix import assert_same

SHORT = [
    Kind(f"{kind.name}", {**kind.body, "max_tokens": 60, "min_tokens": 0}, flights=kind.flights)
    for kind in KINDS
    if "prompt_logprobs" not in kind.body
]


@pytest.mark.parametrize("kind", SHORT, ids=lambda kind: kind.name)
def test_a_stream_adds_up_to_the_whole_answer(fleet: Fleet, kind: Kind) -> None:
    streamed, whole = asyncio.run(play_all(fleet, [kind, replace(kind, stream=False)]))
    assert len(streamed.parts) > len(whole.parts) == 1
    assert_same(streamed.answer, whole.answer)
