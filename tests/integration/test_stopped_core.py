"""An engine whose core stands still is left by its streams, and replaced."""

import asyncio
import os
import signal

import psutil

from loadtest.chaos.kinds import KINDS
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, play_all, start_all, without
from tests.integration.test_failover_matrix import GONE_WITHIN_S, assert_same

STALLED = [kind for kind in KINDS if kind.name in ("chat", "seeded", "JSON schema", "not streamed")]


def test_streams_leave_an_engine_that_makes_no_step_and_it_is_replaced(two_engines: Fleet) -> None:
    undisturbed = asyncio.run(play_all(two_engines, STALLED))
    before = two_engines.flights()
    played, processes = asyncio.run(_stall_amid(two_engines))
    for mine, expected in zip(played, undisturbed, strict=True):
        assert_same(mine.answer, expected.answer)
    after = two_engines.flights()
    assert after["moved"] - before["moved"] == len(STALLED)
    assert after["failed"] == before["failed"]
    assert not psutil.wait_procs(processes, GONE_WITHIN_S)[1]
    two_engines.wait_until_whole()


async def _stall_amid(fleet: Fleet) -> tuple[list[Played], list[psutil.Process]]:
    """All on one engine, whose core is stopped in mid-stream; the other one takes them over."""
    engine, other = fleet.engines()
    processes = processes_of(engine["pid"])
    played = [Played(kind) for kind in STALLED]
    async with fleet.client() as client, asyncio.TaskGroup() as group, without(fleet, other):
        await start_all(fleet, client, group, played)
        os.kill(processes["EngineCore"][0].pid, signal.SIGSTOP)
    return played, [*processes["host"], *processes["EngineCore"]]
