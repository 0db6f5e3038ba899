"""What is offered: its level, its growth, its bursts."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from cluster.scaling.counting import Counted
from cluster.scaling.offered_load import Load, OfferedLoad
from tests.cluster.scaling.scaled import COST, OUTPUT_TOKENS, PROMPT_TOKENS, WORK_S

COLD_START_S = 60.0
INTERVAL_S = 2.0


def counted(requests: float) -> Counted:
    return Counted(
        requests=requests,
        prompt_tokens=requests * PROMPT_TOKENS,
        uncached_prompt_tokens=requests * PROMPT_TOKENS,
        answered_requests=requests,
        output_tokens=requests * OUTPUT_TOKENS,
    )


def offered(requests: Iterable[float]) -> Load:
    """So many in each interval."""
    found, now_s = OfferedLoad(), 0.0
    for each in requests:
        now_s += INTERVAL_S
        found.observe(counted(each), COST, now_s, INTERVAL_S, COLD_START_S)
    load = found.load(COST, now_s, COLD_START_S)
    assert load is not None
    return load


def test_nothing_is_known_before_something_came() -> None:
    assert OfferedLoad().load(COST, 0.0, COLD_START_S) is None


def test_a_constant_load_is_its_own_forecast() -> None:
    load = offered([20] * 300)
    assert load.level == pytest.approx(10 * WORK_S)
    assert load.forecast == pytest.approx(load.level)
    assert load.error == pytest.approx(0.0, abs=0.05)
    assert (load.prompt_tokens, load.output_tokens) == (
        pytest.approx(PROMPT_TOKENS),
        pytest.approx(OUTPUT_TOKENS),
    )
    assert load.prefill_frac == pytest.approx(0.5)


def test_a_line_is_foreseen_where_it_will_be_after_a_cold_start() -> None:
    """0.05 requests/s more every second; the forecast is for 60 s later."""
    load = offered([INTERVAL_S * 0.05 * INTERVAL_S * place for place in range(1, 600)])
    rate_rps = 0.05 * 1200 + 0.05 * COLD_START_S
    assert load.forecast == pytest.approx(rate_rps * WORK_S, rel=0.05)


def test_a_load_that_falls_is_not_foreseen_to_fall() -> None:
    load = offered([2 * (60 - 0.1 * place) for place in range(300)])
    assert load.forecast == load.level


def test_requests_in_bursts_have_that_many_times_the_variance() -> None:
    """Ten at once, as a Poisson process: ten times the work's square, of a tenth as many."""
    rng = Random(4)
    singly, by_ten = (
        offered(size * sum(rng.random() < 0.02 for _ in range(1000 // size)) for _ in range(900))
        for size in (1, 10)
    )
    assert singly.burst / singly.forecast == pytest.approx(WORK_S, rel=0.25)
    assert by_ten.burst / by_ten.forecast == pytest.approx(10 * WORK_S, rel=0.35)


def test_a_load_that_jumps_now_and_then_is_known_to() -> None:
    """Five minutes of much, five of little: forecasts were too low by nearly the whole jump."""
    load = offered(([2.0] * 150 + [40.0] * 150) * 6)
    assert load.error > 0.25 * load.level
