"""kill -9 of each of an engine's processes, a request of every kind on it: no client notices."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from tests.integration.answers import Answer
from tests.integration.fleet import Fleet, processes_of
from tests.integration.kinds import KINDS, PLAIN, stopping
from tests.integration.playing import Played, play_all, start_in_turn

NAMES = [*(kind.name for kind in KINDS), "stop string"]
LONGEST_GAP_S = 3.0
CHILDREN_GONE_WITHIN_S = 10.0
HOST_GONE_WITHIN_S = 120.0  # after a core's death, Serve takes the host down


@dataclass(frozen=True)
class Outcome:
    """One kill: what every request got, what the fleet counted, and which processes survived."""

    played: list[Played]
    before: dict[str, int]
    after: dict[str, int]
    children_left: list[psutil.Process]
    host_left: list[psutil.Process]

    def of(self, name: str) -> list[Played]:
        return [played for played in self.played if played.kind.name == name]


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet) -> dict[str, Played]:
    """Every kind by name, all at once, with nothing killed."""
    played = asyncio.run(play_all(fleet, KINDS))
    text = next(p for p in played if p.kind is PLAIN).answer.choices[0].text
    played += asyncio.run(play_all(fleet, [stopping(text)]))
    return {each.kind.name: each for each in played}


@pytest.fixture(scope="module", params=["host", "EngineCore", "Worker"])
def outcome(
    request: pytest.FixtureRequest, fleet: Fleet, undisturbed: dict[str, Played]
) -> Outcome:
    fleet.wait_for_engines()
    fleet.wait_for_active(0)
    processes = processes_of(fleet.engines()[0]["pid"])
    victim = processes[request.param][0]
    before = fleet.flights()
    played = asyncio.run(_play_and_kill(fleet, undisturbed, victim.pid))
    fleet.wait_for_active(0)
    children = [*processes["EngineCore"], *processes["Worker"]]
    assert children, "an engine without processes of its own?"
    return Outcome(
        played,
        before,
        fleet.flights(),
        psutil.wait_procs(children, CHILDREN_GONE_WITHIN_S)[1],
        psutil.wait_procs(processes["host"], HOST_GONE_WITHIN_S)[1],
    )


async def _play_and_kill(
    fleet: Fleet, undisturbed: dict[str, Played], victim_pid: int
) -> list[Played]:
    """Two of every kind, one per engine; the kill comes when all are under way."""
    played = [Played(each.kind) for each in undisturbed.values() for _ in range(2)]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_in_turn(fleet, client, group, played)
        os.kill(victim_pid, signal.SIGKILL)
    return played


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_the_undisturbed_one(
    outcome: Outcome, undisturbed: dict[str, Played], name: str
) -> None:
    expected = undisturbed[name].answer
    for played in outcome.of(name):
        assert_same(played.answer, expected)


def assert_same(answer: Answer, expected: Answer) -> None:
    """Everything equal; logprobs to what float32 sums of another order leave."""
    assert answer.usage == expected.usage
    assert answer.choices.keys() == expected.choices.keys()
    for index, choice in answer.choices.items():
        wanted = expected.choices[index]
        assert choice.token_ids == wanted.token_ids
        assert (choice.text, choice.tool_calls) == (wanted.text, wanted.tool_calls)
        assert (choice.finish_reason, choice.stop_reason) == (
            wanted.finish_reason,
            wanted.stop_reason,
        )
        assert [token for token, _ in choice.logprobs] == [token for token, _ in wanted.logprobs]
        values, wanted_values = ([v for _, v in c.logprobs] for c in (choice, wanted))
        assert values == pytest.approx(wanted_values, abs=1e-3)


def test_no_stream_pauses_longer_than_three_seconds(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    gaps_s = {played.kind.name: played.longest_gap_s for played in outcome.played}
    longest_s = max(gaps_s.values())
    record_property("longest_gap_s", round(longest_s, 3))
    print(f"longest gap: {longest_s:.3f} s")
    assert longest_s < LONGEST_GAP_S, gaps_s


def test_the_lost_engine_had_one_of_every_kind_and_all_moved(
    outcome: Outcome, undisturbed: dict[str, Played]
) -> None:
    moved = outcome.after["moved"] - outcome.before["moved"]
    assert moved == sum(played.kind.flights for played in undisturbed.values())
    assert outcome.after["failed"] == outcome.before["failed"]
    assert outcome.after["active"] == 0


def test_no_process_of_the_lost_engine_survives(outcome: Outcome) -> None:
    assert not outcome.children_left
    assert not outcome.host_left


def test_a_stop_string_ended_the_text_it_was_chosen_from(undisturbed: dict[str, Played]) -> None:
    choice = undisturbed["stop string"].answer.choices[0]
    assert choice.finish_reason == "stop"
    assert undisturbed[PLAIN.name].answer.choices[0].text.startswith(choice.text)
