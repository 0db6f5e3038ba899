"""A client that leaves takes its requests off the engine, within about a second."""

import asyncio
import time

import pytest

from loadtest.chaos.kinds import Kind, chat, completion
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, start_all
from tests.waiting import until

FREED_WITHIN_S = 1.5  # "within a second", and the engine's next load report
TOKENS = 3500  # several seconds of work: what is free again sooner was not just over
KINDS = [
    chat("streamed chat", max_tokens=TOKENS),
    completion("streamed completion", max_tokens=TOKENS),
    chat("chat", stream=False, max_tokens=TOKENS),
    completion("completion", stream=False, max_tokens=TOKENS),
    chat("several choices", n=2, flights=2, temperature=1, max_tokens=TOKENS),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_client_that_leaves_frees_the_engine(two_engines: Fleet, kind: Kind) -> None:
    asyncio.run(_leave_midway(two_engines, kind))
    left_at_s = time.monotonic()
    until(lambda: _idle(two_engines), within_s=FREED_WITHIN_S, what="nothing runs any more")
    print(f"freed after {time.monotonic() - left_at_s:.2f} s")


async def _leave_midway(fleet: Fleet, kind: Kind) -> None:
    played = Played(kind)
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        (task,) = await start_all(fleet, client, group, [played])
        await asyncio.to_thread(until, lambda: _running(fleet) == kind.flights, within_s=20,
                                what="the engine runs it")  # fmt: skip
        assert not played.ended, "too short to be left midway"
        task.cancel()


def _running(fleet: Fleet) -> int:
    return sum(engine["running"] + engine["waiting"] for engine in fleet.engines())


def _idle(fleet: Fleet) -> bool:
    return _running(fleet) == 0 and fleet.flights()["active"] == 0
