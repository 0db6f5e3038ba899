"""An engine of two workers, on the CPU: answers as one worker does, and dies as a whole."""

import asyncio
import os
import signal
from itertools import chain

import psutil
import pytest

from loadtest.chaos.kinds import KINDS
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, play_all, start_all
from tests.integration.test_failover_matrix import GONE_WITHIN_S, assert_same

TP2 = "demo-tp2"
NAMES = ("chat", "completion", "regex", "completion logprobs")
SPLIT = [kind for kind in KINDS if kind.name in NAMES]


@pytest.fixture(scope="module")
def played(fleet: Fleet) -> dict[str, dict[str, Played]]:
    """Some kinds by name, for each model: the same weights in one worker and in two."""
    fleet.wait_for_engines(1, TP2)
    return {
        model: {each.kind.name: each for each in asyncio.run(play_all(fleet, SPLIT, model))}
        for model in ("demo", TP2)
    }


@pytest.mark.parametrize("name", NAMES)
def test_two_workers_answer_what_one_does(played: dict[str, dict[str, Played]], name: str) -> None:
    assert_same(played[TP2][name].answer, played["demo"][name].answer)


def test_a_killed_worker_ends_its_engine_and_streams_go_on_with_the_next(
    fleet: Fleet, played: dict[str, dict[str, Played]]
) -> None:
    processes = processes_of(fleet.engines(TP2)[0]["pid"])
    answers = asyncio.run(_kill_amid(fleet, processes["Worker"][1]))
    for mine in answers:
        assert_same(mine.answer, played[TP2][mine.kind.name].answer)
    assert not psutil.wait_procs([*chain(*processes.values())], GONE_WITHIN_S)[1]


async def _kill_amid(fleet: Fleet, victim: psutil.Process) -> list[Played]:
    """All on the model's one engine, in mid-stream when the worker is killed."""
    answers = [Played(kind) for kind in SPLIT]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_all(fleet, client, group, answers, TP2)
        victim.kill()
    return answers


def test_no_process_of_an_engine_survives_its_killed_host(fleet: Fleet) -> None:
    fleet.wait_for_engines(1, TP2)
    host_pid = fleet.engines(TP2)[0]["pid"]
    processes = processes_of(host_pid)
    assert len(processes["Worker"]) == 2
    os.kill(host_pid, signal.SIGKILL)
    left = psutil.wait_procs([*processes["EngineCore"], *processes["Worker"]], timeout=10)[1]
    assert not left
