"""When a step is due: where there is work, no call to answer, and leave to go on."""

from __future__ import annotations

import pytest

from cluster.stall import LONG_CALL_S, StepClock
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


def test_a_long_call_is_given_its_time_whatever_else_there_is_to_do(watch):
    watch.work(0.0)
    watch.call_begins("add_lora", 1.0)
    watch.call_begins("sleep", 2.0)
    watch.call_ends("sleep", 3.0)
    watch.work(4.0)
    assert watch.stalled_s(LONG_CALL_S) is None
    watch.call_ends("add_lora", LATER_S)
    assert watch.stalled_s(LATER_S + 6) == 6.0


def test_a_long_call_is_not_given_for_ever(watch):
    watch.call_begins("add_lora", 0.0)
    watch.call_begins("add_lora", LONG_CALL_S)  # another asks for more: that puts nothing off
    assert watch.stalled_s(LONG_CALL_S + 6) == 6.0


def test_a_quick_call_is_answered_in_the_time_of_a_step(watch):
    watch.call_begins("get_supported_tasks", 0.0)
    assert watch.stalled_s(6.0) == 6.0
    watch.call_ends("get_supported_tasks", 7.0)
    assert watch.stalled_s(LATER_S) is None


def test_a_quick_call_puts_off_no_step(watch):
    watch.work(0.0)
    watch.call_begins("get_supported_tasks", 4.0)
    assert watch.stalled_s(6.0) == 6.0


def test_a_call_still_waits_for_its_answer_when_the_last_request_is_gone(watch):
    watch.work(0.0)
    watch.call_begins("get_supported_tasks", 1.0)
    watch.no_work()
    assert watch.stalled_s(6.0) == 6.0


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
