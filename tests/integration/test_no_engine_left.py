"""Both engines die: streams wait for the replacement, and what two engines died of is not moved."""

import asyncio
import os
import signal
from dataclasses import dataclass

import pytest
from openai import APIError, InternalServerError

from loadtest.chaos.kinds import KINDS, chat
from tests.integration.fleet import Fleet
from tests.integration.playing import (
    Played,
    all_flow,
    core_of,
    frozen,
    play_all,
    start_all,
    without,
)
from tests.integration.test_failover_matrix import assert_same

HELD = [kind for kind in KINDS if kind.name in ("chat", "echo", "seeded", "JSON schema", "regex")]
SUSPECTS = [chat("streamed"), chat("whole", stream=False)]


@dataclass(frozen=True)
class Outcome:
    """`suspects` ran on both engines that died, `held` on the second only; `newcomer` was sent
    when there was none."""

    suspects: dict[str, Played]
    held: dict[str, Played]
    newcomer: Played
    ready_status: int
    failed: int


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet) -> dict[str, Played]:
    return {played.kind.name: played for played in asyncio.run(play_all(fleet, HELD))}


@pytest.fixture(scope="module")
def outcome(fleet: Fleet, undisturbed: dict[str, Played]) -> Outcome:
    fleet.wait_until_whole()
    return asyncio.run(_kill_both(fleet))


async def _kill_both(fleet: Fleet) -> Outcome:
    first, second = fleet.engines()
    first_core, second_core = core_of(first), core_of(second)
    failed_before = fleet.flights()["failed"]
    suspects, held = ([Played(kind) for kind in kinds] for kinds in (SUSPECTS, HELD))
    newcomer = Played(HELD[0])
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        async with without(fleet, second):
            await start_all(fleet, client, group, suspects)
        async with frozen(first_core):
            await asyncio.to_thread(fleet.wait_for_engines)
        async with frozen(second_core):
            os.kill(first["pid"], signal.SIGKILL)
            await asyncio.to_thread(fleet.wait_for_engines, 1)
            await all_flow(suspects, [second_core])
            await start_all(fleet, client, group, held)
            os.kill(second["pid"], signal.SIGKILL)
        await asyncio.to_thread(fleet.wait_for_engines, 0)
        ready_status = fleet.http.get("/ready").status_code
        group.create_task(newcomer.play(client))
    return Outcome(
        {each.kind.name: each for each in suspects},
        {each.kind.name: each for each in held},
        newcomer,
        ready_status,
        fleet.flights()["failed"] - failed_before,
    )


@pytest.mark.parametrize("name", [kind.name for kind in HELD])
def test_a_stream_goes_on_with_the_replacement(
    outcome: Outcome, undisturbed: dict[str, Played], name: str
) -> None:
    assert_same(outcome.held[name].answer, undisturbed[name].answer)


def test_a_request_sent_when_no_engine_is_up_waits_for_one(
    outcome: Outcome, undisturbed: dict[str, Played]
) -> None:
    assert outcome.ready_status == 503
    assert_same(outcome.newcomer.answer, undisturbed[HELD[0].name].answer)


def test_a_request_that_two_engines_died_of_is_failed_as_the_suspect(outcome: Outcome) -> None:
    assert outcome.failed == len(SUSPECTS)
    for suspect in outcome.suspects.values():
        assert "engine_lost: 2 engines died while they ran this request" in str(suspect.error)


def test_a_suspect_gets_an_error_event_in_its_stream(outcome: Outcome) -> None:
    streamed = outcome.suspects["streamed"]
    assert streamed.parts
    assert type(streamed.error) is APIError
    assert streamed.error.body["code"] == 500


def test_a_suspect_that_does_not_stream_gets_a_500(outcome: Outcome) -> None:
    assert isinstance(outcome.suspects["whole"].error, InternalServerError)
