"""Both engines die: streams wait for the replacement, and what two engines died of is not moved."""

import asyncio
import os
import signal
from dataclasses import dataclass

import pytest
from openai import APIError, InternalServerError

from tests.integration.fleet import Fleet
from tests.integration.kinds import KINDS, chat
from tests.integration.playing import Played, play_all, start_in_turn
from tests.integration.test_failover_matrix import assert_same
from tests.integration.waiting import until

HELD = [kind for kind in KINDS if kind.name in ("chat", "echo", "seeded", "JSON schema", "regex")]
SUSPECTS = [chat("streamed", max_tokens=900), chat("not streamed", stream=False, max_tokens=900)]


@dataclass(frozen=True)
class Outcome:
    """`suspects` ran on both engines that died, `held` on the second only; `newcomer` was sent
    when there was none."""

    suspects: list[Played]
    held: list[Played]
    newcomer: Played
    ready_status: int
    failed: int


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet) -> dict[str, Played]:
    return {played.kind.name: played for played in asyncio.run(play_all(fleet, HELD))}


@pytest.fixture(scope="module")
def outcome(fleet: Fleet, undisturbed: dict[str, Played]) -> Outcome:
    fleet.wait_for_engines()
    fleet.wait_for_active(0)
    return asyncio.run(_kill_both(fleet))


async def _kill_both(fleet: Fleet) -> Outcome:
    pids = [engine["pid"] for engine in fleet.engines()]
    failed_before = fleet.flights()["failed"]
    # Two of each suspect, one per engine: both kinds are on the first engine that dies.
    suspects = [Played(kind) for kind in SUSPECTS for _ in range(2)]
    held, newcomer = [Played(kind) for kind in HELD], Played(HELD[0])
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_in_turn(fleet, client, group, suspects)
        await _kill(fleet, pids[0], left=1)
        await start_in_turn(fleet, client, group, held, already=len(suspects))
        await _kill(fleet, pids[1], left=0)
        ready_status = fleet.http.get("/ready").status_code
        group.create_task(newcomer.play(client))
    return Outcome(
        suspects, held, newcomer, ready_status, fleet.flights()["failed"] - failed_before
    )


async def _kill(fleet: Fleet, pid: int, left: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(
        until, lambda: len(fleet.engines()) == left, within_s=10, what=f"{left} engines left"
    )


@pytest.mark.parametrize("name", [kind.name for kind in HELD])
def test_a_stream_goes_on_with_the_replacement(
    outcome: Outcome, undisturbed: dict[str, Played], name: str
) -> None:
    (held,) = (played for played in outcome.held if played.kind.name == name)
    assert_same(held.answer, undisturbed[name].answer)


def test_a_request_sent_when_no_engine_is_up_waits_for_one(
    outcome: Outcome, undisturbed: dict[str, Played]
) -> None:
    assert outcome.ready_status == 503
    assert_same(outcome.newcomer.answer, undisturbed[HELD[0].name].answer)


def test_a_request_that_two_engines_died_of_is_failed_as_the_suspect(outcome: Outcome) -> None:
    errors = [played.error for played in outcome.suspects if played.error is not None]
    assert len(errors) == outcome.failed == 2
    for error in errors:
        assert "engine_lost: 2 engines died while they ran this request" in str(error)


def test_the_suspect_gets_an_error_event_in_its_stream_and_else_a_500(outcome: Outcome) -> None:
    failed = {p.kind.stream: p.error for p in outcome.suspects if p.error is not None}
    assert isinstance(failed[False], InternalServerError)
    assert type(failed[True]) is APIError
    assert failed[True].body["code"] == 500
