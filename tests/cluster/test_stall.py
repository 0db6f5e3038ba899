"""How long an engine may go without a step."""

import pytest

from cluster.stall import FLOOR_S, LONG_CALL_S, LONGEST_STEPS, RECENT_STEPS, StepClock


def test_an_engine_without_work_never_stalls() -> None:
    clock = StepClock(limit_s=1.0)
    assert clock.stalled_s(1e9) is None
    clock.work(0.0)
    clock.step(0.5, more=False)
    assert clock.stalled_s(1e9) is None
    clock.work(10.0)
    clock.pause()
    assert clock.stalled_s(1e9) is None


def test_a_step_that_is_due_too_long_is_a_stall() -> None:
    clock = StepClock(limit_s=2.0)
    clock.work(10.0)
    clock.work(11.0)  # more work does not put it off
    assert clock.stalled_s(12.0) is None
    assert clock.stalled_s(12.5) == 2.5
    clock.step(12.6, more=True)
    assert clock.stalled_s(14.6) is None
    assert clock.stalled_s(15.0) == pytest.approx(2.4)


def test_a_long_call_puts_a_stall_off_and_no_further_work_brings_it_back() -> None:
    clock = StepClock(limit_s=2.0)
    clock.work(0.0)
    clock.busy(1.0)
    clock.work(5.0)
    assert clock.stalled_s(1.0 + LONG_CALL_S + 2.0) is None
    assert clock.stalled_s(1.0 + LONG_CALL_S + 2.5) == 2.5


def test_the_limit_follows_the_longest_of_the_recent_steps() -> None:
    clock = StepClock()
    assert clock.limit_s == FLOOR_S
    clock.work(0.0)
    clock.step(3.0, more=True)
    assert clock.limit_s == LONGEST_STEPS * 3.0
    for index in range(RECENT_STEPS):
        clock.step(3.0 + 0.01 * (index + 1), more=True)
    assert clock.limit_s == FLOOR_S


def test_a_step_after_an_idle_time_did_not_take_that_time() -> None:
    clock = StepClock()
    clock.work(0.0)
    clock.step(1.0, more=False)
    clock.work(1000.0)
    clock.step(1001.0, more=False)
    assert clock.limit_s == LONGEST_STEPS * 1.0
