"""kill -9 of an engine's host while it streams: every answer is the undisturbed one."""

import asyncio
import os
import signal

import pytest

from serve_app.process_tree import is_alive
from tests.integration.fleet import Fleet, processes_of
from tests.integration.kinds import chat, completion
from tests.integration.playing import Played, play_all, start_all
from tests.integration.test_failover_matrix import assert_same
from tests.waiting import until

pytestmark = pytest.mark.unsettled

TOKENS = 900
KINDS = [
    chat("chat", max_tokens=TOKENS),
    completion("completion", max_tokens=TOKENS),
    completion("logprobs", max_tokens=TOKENS, logprobs=2),
    chat("seeded", max_tokens=TOKENS, temperature=1, seed=7),
    completion("penalties", max_tokens=TOKENS, presence_penalty=0.8, frequency_penalty=0.6),
    completion("not streamed", max_tokens=TOKENS, stream=False),
]


def test_every_answer_is_the_undisturbed_one_and_nothing_of_the_engine_is_left(
    two_engines: Fleet,
) -> None:
    undisturbed = asyncio.run(play_all(two_engines, KINDS))
    before = two_engines.flights()
    played, processes = asyncio.run(_kill_the_busier_host(two_engines))
    for mine, wanted in zip(played, undisturbed, strict=True):
        assert_same(mine.answer, wanted.answer)
    after = two_engines.flights()
    assert after["moved"] > before["moved"]
    assert after["failed"] == before["failed"]
    until(
        lambda: not any(map(is_alive, processes)),
        within_s=10,
        what="its core and worker end with it",
    )


async def _kill_the_busier_host(fleet: Fleet) -> tuple[list[Played], list]:
    played = [Played(kind) for kind in KINDS]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_all(fleet, client, group, played)
        busier = max(await asyncio.to_thread(fleet.engines), key=lambda row: row["running"])
        processes = processes_of(busier["pid"])
        os.kill(busier["pid"], signal.SIGKILL)
    return played, [*processes["EngineCore"], *processes["Worker"]]
