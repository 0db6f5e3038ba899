"""How late a loop is: one long pause is no lag, a loop that is always late is."""

from __future__ import annotations

import asyncio

from serve_app import loop_lag
from serve_app.loop_lag import REMEMBERED, LoopLag
from tests.waiting import eventually


def test_nothing_is_known_before_it_has_looked_often():
    lag = LoopLag()
    for _ in range(REMEMBERED - 1):
        lag.note(0.2)
    assert lag.lag_s is None
    lag.note(0.2)
    assert lag.lag_s == 0.2


def test_one_long_pause_is_no_lag_and_what_is_long_past_is_forgotten():
    lag = LoopLag()
    for _ in range(REMEMBERED):
        lag.note(0.3)
    for _ in range(REMEMBERED - 1):
        lag.note(0.001)
    lag.note(9.0)
    assert lag.lag_s == 0.001


def test_a_clock_that_is_early_makes_no_negative_lag():
    lag = LoopLag()
    for _ in range(REMEMBERED):
        lag.note(-0.001)
    assert lag.lag_s == 0.0


def test_it_looks_by_itself(monkeypatch):
    monkeypatch.setattr(loop_lag, "EVERY_S", 0.0)

    async def scenario() -> None:
        lag = LoopLag()
        task = asyncio.ensure_future(lag.watch())
        await eventually(lambda: lag.lag_s is not None)
        task.cancel()

    asyncio.run(scenario())
