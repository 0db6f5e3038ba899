"""When a step is due: where there is work, no call to answer, and leave to go on."""

from __future__ import annotations

import pytest

from cluster.stall import StepClock
from serve_app.stall_watch import StallWatch

LIMIT_S = 5.0
LATER_S = 100.0


@pytest.fixture
def watch() -> StallWatch:
    return StallWatch(StepClock(LIMIT_S))


def test_work_without_a_step_is_a_stall_after_the_limit(watch):
    watch.work(0.0)
    assert watch.stalled_s(LIMIT_S) is None
    assert watch.stalled_s(LIMIT_S + 1) == LIMIT_S + 1


def test_each_step_makes_the_next_one_due(watch):
    watch.work(0.0)
    watch.step(4.0, more=True)
    assert watch.stalled_s(8.0) is None
    assert watch.stalled_s(10.0) == 6.0
    watch.step(10.0, more=False)
    assert watch.stalled_s(LATER_S) is None


def test_without_work_no_step_is_due(watch):
    watch.work(0.0)
    watch.no_work()
    assert watch.stalled_s(LATER_S) is None


def test_a_core_that_answers_calls_owes_no_step_until_it_has_answered_all(watch):
    watch.work(0.0)
    watch.call_begins()
    watch.call_begins()
    watch.call_ends()
    watch.work(1.0)
    assert watch.stalled_s(LATER_S) is None
    watch.call_ends()
    watch.work(LATER_S)
    assert watch.stalled_s(LATER_S + 6) == 6.0


@pytest.mark.parametrize("stop", ["sleep", "pause_scheduler"])
def test_a_core_that_was_told_to_stand_still_owes_no_step(watch, stop):
    watch.answered(stop, None)
    watch.work(0.0)
    watch.step(1.0, more=True)  # one that ran meanwhile
    assert watch.stalled_s(LATER_S) is None


@pytest.mark.parametrize(
    ("stops", "go", "answer", "goes"),
    [
        (["sleep"], "wake_up", None, True),
        (["sleep"], "wake_up", False, False),  # in part only
        (["sleep"], "resume_scheduler", None, False),
        (["pause_scheduler"], "resume_scheduler", None, True),
        (["pause_scheduler"], "wake_up", None, True),
        (["sleep", "pause_scheduler"], "resume_scheduler", None, False),
        (["sleep", "pause_scheduler"], "wake_up", None, True),
        (["sleep"], "get_supported_tasks", None, False),
    ],
)
def test_what_lets_a_core_go_on(watch, stops, go, answer, goes):
    for stop in stops:
        watch.answered(stop, None)
    watch.answered(go, answer)
    watch.work(0.0)
    assert (watch.stalled_s(LATER_S) is not None) == goes
