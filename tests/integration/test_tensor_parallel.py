"""An engine of two workers, on the CPU: answers as one worker does, and dies as a whole."""

import asyncio
import os
import signal

import psutil
import pytest

from loadtest.chaos.kinds import KINDS
from loadtest.chaos.processes import processes_of
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, play_all
from tests.integration.test_failover_matrix import assert_same

NAMES = ("chat", "completion", "regex", "completion logprobs")


@pytest.fixture(scope="module")
def played(fleet: Fleet) -> dict[str, dict[str, Played]]:
    """Some kinds by name, for each model: the same weights in one worker and in two."""
    fleet.wait_for_engines(1, "demo-tp2")
    kinds = [kind for kind in KINDS if kind.name in NAMES]
    return {
        model: {each.kind.name: each for each in asyncio.run(play_all(fleet, kinds, model))}
        for model in ("demo", "demo-tp2")
    }


@pytest.mark.parametrize("name", NAMES)
def test_two_workers_answer_what_one_does(played: dict[str, dict[str, Played]], name: str) -> None:
    assert_same(played["demo-tp2"][name].answer, played["demo"][name].answer)


def test_no_process_of_an_engine_survives_its_killed_host(fleet: Fleet) -> None:
    fleet.wait_for_engines(1, "demo-tp2")
    host_pid = fleet.engines("demo-tp2")[0]["pid"]
    processes = processes_of(host_pid)
    assert len(processes["Worker"]) == 2
    os.kill(host_pid, signal.SIGKILL)
    left = psutil.wait_procs([*processes["EngineCore"], *processes["Worker"]], timeout=10)[1]
    assert not left
