"""kill -9 of Ray Serve's controller: nothing that runs notices, and engines are replaced again."""

import asyncio
import os
import signal

import psutil

from loadtest.chaos.kinds import KINDS
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, all_flow, cores_of, frozen, play_all, start_all
from tests.integration.test_failover_matrix import assert_same
from tests.waiting import until

RUNNING = [kind for kind in KINDS if kind.name in ("chat", "seeded", "not streamed")]
BACK_WITHIN_S = 60.0


def controller(fleet: Fleet) -> psutil.Process | None:
    """The process of the fleet's Serve controller."""
    for process in psutil.Process(fleet.process.pid).children(recursive=True):
        if process.name().startswith("ray::ServeContr"):  # the kernel keeps 15 characters
            return process
    return None


def pids(fleet: Fleet) -> set[int]:
    return {engine["pid"] for engine in fleet.engines()}


def test_streams_and_replicas_live_on_and_a_lost_engine_is_replaced(two_engines: Fleet) -> None:
    undisturbed = asyncio.run(play_all(two_engines, RUNNING))
    before, engines = two_engines.flights(), pids(two_engines)
    played = asyncio.run(_kill_amid(two_engines))
    for mine, expected in zip(played, undisturbed, strict=True):
        assert_same(mine.answer, expected.answer)
    assert two_engines.flights() == before, "nothing moved, nothing failed, no gateway is new"
    assert pids(two_engines) == engines
    victim = engines.pop()
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in pids(two_engines), what="the killed engine is gone")
    two_engines.wait_until_whole()


async def _kill_amid(fleet: Fleet) -> list[Played]:
    """The controller dies in mid-stream, and is back before the streams go on."""
    killed = controller(fleet)
    assert killed is not None
    played = [Played(kind) for kind in RUNNING]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_all(fleet, client, group, played)
        cores = cores_of(fleet)
        async with frozen(*cores):
            killed.kill()
            await all_flow(played, cores)
            await asyncio.to_thread(
                until,
                lambda: (now := controller(fleet)) and now.pid != killed.pid,
                within_s=BACK_WITHIN_S,
                what="the controller is back",
            )
    return played
