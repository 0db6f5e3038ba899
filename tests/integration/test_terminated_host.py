"""SIGTERM of an engine's host, as a node that is shut down sends it: a planned removal, though
Serve knows of none. The last test of the session's cluster: nothing waits for the replacements."""

import asyncio
import os
import signal

import psutil

from loadtest.chaos.answers import difference
from loadtest.chaos.kinds import KINDS
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, core_of, frozen, play_all, start_all
from tests.waiting import until

RUNNING = [kind for kind in KINDS if kind.name in ("chat", "seeded", "JSON schema", "not streamed")]
LONE = "demo-tp2"
GONE_WITHIN_S = 30.0  # what vLLM gives its core included


def test_its_streams_move_and_it_is_counted_as_no_loss(two_engines: Fleet) -> None:
    kinds = RUNNING * 4  # enough for both engines to get some
    undisturbed = asyncio.run(play_all(two_engines, kinds))
    before = two_engines.row()
    played, host = asyncio.run(_terminate_amid(two_engines, [Played(kind) for kind in kinds]))
    for mine, expected in zip(played, undisturbed, strict=True):
        assert difference(mine.answer, expected.answer) is None
    after = two_engines.row()
    assert after["flights"]["moved"] > before["flights"]["moved"]
    assert after["flights"]["failed"] == before["flights"]["failed"]
    assert after["losses"]["last_10_min"] <= before["losses"]["last_10_min"]  # some grow old
    host.wait(GONE_WITHIN_S)


async def _terminate_amid(
    fleet: Fleet, played: list[Played]
) -> tuple[list[Played], psutil.Process]:
    """The engine that goes stands still until it is empty: none of its streams ends there."""
    goes, _ = fleet.engines()
    host = psutil.Process(goes["pid"])
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_all(fleet, client, group, played)
        async with frozen(core_of(goes)):
            host.terminate()
            await asyncio.to_thread(fleet.wait_for_engines, 1)
    return played, host


def test_with_nowhere_to_go_they_end_where_they_are(fleet: Fleet) -> None:
    fleet.wait_for_engines(1, LONE)
    kinds = [kind for kind in RUNNING if kind.stream]
    undisturbed = asyncio.run(play_all(fleet, kinds, LONE))
    before = fleet.flights(LONE)
    (lone,) = fleet.engines(LONE)
    processes = processes_of(lone["pid"])
    played = asyncio.run(_terminate_lone(fleet, lone["pid"], [Played(kind) for kind in kinds]))
    for mine, expected in zip(played, undisturbed, strict=True):
        assert difference(mine.answer, expected.answer) is None
    assert fleet.flights(LONE) == before
    everyone = [process for some in processes.values() for process in some]
    assert not psutil.wait_procs(everyone, GONE_WITHIN_S)[1]


async def _terminate_lone(fleet: Fleet, host: int, played: list[Played]) -> list[Played]:
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        for each in played:
            group.create_task(each.play(client, LONE))
        await asyncio.to_thread(fleet.wait_for_active, len(played), LONE)
        core = processes_of(host)["EngineCore"][0].pid
        async with frozen(core):
            os.kill(host, signal.SIGTERM)
            await asyncio.to_thread(_wait_until_it_leaves, fleet)
    return played


def _wait_until_it_leaves(fleet: Fleet) -> None:
    until(
        lambda: fleet.row(LONE)["engines"][0]["state"] in ("leaving", "departing"),
        what="the engine says that it goes",
    )
