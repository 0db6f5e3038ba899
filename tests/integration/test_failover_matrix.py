"""kill -9 of each of an engine's processes, a request of every kind on it: no client notices.

A worker of its own has an engine whose model is split: `test_tensor_parallel`.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from loadtest.chaos.answers import Answer, difference
from loadtest.chaos.kinds import KINDS, PLAIN, Kind, stopping
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, all_flow, frozen, play_all, start_all, without

NAMES = [*(kind.name for kind in KINDS), "stop string"]
VICTIMS = ("host", "EngineCore")
LONGEST_GAP_S = 3.0
GONE_WITHIN_S = 60.0  # the host of a dead core is Serve's to take down


@dataclass(frozen=True)
class Outcome:
    """One kill: what every request got, what the fleet counted, and the engine's processes."""

    played: dict[str, Played]
    killed_at_s: float
    moved: int
    failed: int
    processes: list[psutil.Process]


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet) -> dict[str, Played]:
    """Every kind by name, all at once, with nothing killed."""
    played = asyncio.run(play_all(fleet, KINDS))
    text = next(p for p in played if p.kind is PLAIN).answer.choices[0].text
    played += asyncio.run(play_all(fleet, [stopping(text)]))
    return {each.kind.name: each for each in played}


@pytest.fixture(scope="module")
def outcomes(fleet: Fleet, undisturbed: dict[str, Played]) -> dict[str, Outcome]:
    """One kill after the other: each replaced engine takes over from the next that dies."""
    kinds = [each.kind for each in undisturbed.values()]
    found = {}
    for victim in VICTIMS:
        fleet.wait_until_whole()
        found[victim] = asyncio.run(_kill_amid(fleet, kinds, victim))
    return found


async def _kill_amid(fleet: Fleet, kinds: list[Kind], victim: str) -> Outcome:
    """Every kind on one engine, whose process is killed in mid-stream when there is another."""
    engine, other = fleet.engines()
    processes = processes_of(engine["pid"])
    core = processes["EngineCore"][0].pid
    before = fleet.flights()
    played = [Played(kind) for kind in kinds]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        async with without(fleet, other):
            await start_all(fleet, client, group, played)
        async with frozen(core):
            await asyncio.to_thread(fleet.wait_for_engines)
            await all_flow(played, [core])
        os.kill(processes[victim][0].pid, signal.SIGKILL)
        killed_at_s = time.monotonic()
    after = fleet.flights()
    return Outcome(
        {each.kind.name: each for each in played},
        killed_at_s,
        after["moved"] - before["moved"],
        after["failed"] - before["failed"],
        [*processes["host"], *processes["EngineCore"]],
    )


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_the_undisturbed_one(
    outcomes: dict[str, Outcome], undisturbed: dict[str, Played], victim: str, name: str
) -> None:
    assert_same(outcomes[victim].played[name].answer, undisturbed[name].answer)


def assert_same(answer: Answer, expected: Answer) -> None:
    assert difference(answer, expected) is None


@pytest.mark.parametrize("victim", VICTIMS)
def test_no_stream_pauses_longer_than_three_seconds(
    outcomes: dict[str, Outcome],
    victim: str,
    record_property: Callable[[str, object], None],
) -> None:
    outcome = outcomes[victim]
    # From a little before the kill, so that each stream's last part before it counts too.
    since_s = outcome.killed_at_s - LONGEST_GAP_S
    gaps_s = {name: each.longest_gap_s(since_s) for name, each in outcome.played.items()}
    longest_s = max(gaps_s.values())
    record_property("longest_gap_s", round(longest_s, 3))
    print(f"kill -9 {victim}: longest gap {longest_s:.3f} s")
    assert longest_s < LONGEST_GAP_S, gaps_s


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_request_moved_and_none_failed(
    outcomes: dict[str, Outcome], undisturbed: dict[str, Played], victim: str
) -> None:
    outcome = outcomes[victim]
    assert outcome.failed == 0
    assert outcome.moved == sum(each.kind.flights for each in undisturbed.values())


@pytest.mark.parametrize("victim", VICTIMS)
def test_no_process_of_the_lost_engine_survives(outcomes: dict[str, Outcome], victim: str) -> None:
    processes = outcomes[victim].processes
    left = psutil.wait_procs(processes, GONE_WITHIN_S)[1]
    assert not left


def test_no_request_is_left_in_flight(outcomes: dict[str, Outcome], fleet: Fleet) -> None:
    assert len(outcomes) == len(VICTIMS)
    fleet.wait_for_active(0, within_s=1)


def test_a_stop_string_ended_the_text_it_was_chosen_from(undisturbed: dict[str, Played]) -> None:
    choice = undisturbed["stop string"].answer.choices[0]
    assert choice.finish_reason == "stop"
    assert undisturbed[PLAIN.name].answer.choices[0].text.startswith(choice.text)
