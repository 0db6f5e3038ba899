"""How fast the queue drains: learnt only while something waits, and per engine."""

import pytest

from cluster.admission.drain_rate import DrainRate


def busy(engines: int = 2, until_s: int = 60, tokens: float = 100.0) -> DrainRate:
    """So many tokens a tenth of a second."""
    drain = DrainRate(0.0)
    for tick in range(until_s * 10 + 1):
        drain.went(tokens, engines, tick / 10, waits=True)
    return drain


def test_a_steady_rate_is_found() -> None:
    assert busy().per_s(60.0) == pytest.approx(1000.0, rel=0.01)


def test_it_grows_with_the_engines_at_once() -> None:
    drain = busy(engines=2)
    drain.went(100, 4, 60.1, waits=True)
    assert drain.per_s(60.1) == pytest.approx(2000.0, rel=0.02)


def test_what_went_without_waiting_says_nothing() -> None:
    drain = DrainRate(0.0)
    for tick in range(1000):
        drain.went(10_000, 2, tick / 10, waits=False)
    assert drain.per_s(100.0) is None


def test_the_first_fill_of_the_engines_does_not_count() -> None:
    drain = DrainRate(0.0)
    drain.went(10**6, 1, 0.0, waits=True)
    for tick in range(1, 100):
        drain.went(10, 1, tick / 10, waits=True)
    assert drain.per_s(9.9) == pytest.approx(100.0, rel=0.02)


def test_nothing_is_said_before_enough_was_seen_and_without_engines() -> None:
    drain = DrainRate(0.0)
    assert drain.per_s(0.0) is None
    drain.went(0, 1, 0.0, waits=True)
    drain.went(100, 1, 0.5, waits=True)
    assert drain.per_s(0.5) is None
    gone = busy()
    gone.went(0, 0, 60.1, waits=True)
    assert gone.per_s(60.1) is None
    assert gone.engines == 0


def test_it_follows_a_change() -> None:
    drain = busy(tokens=100)
    for tick in range(601, 1000):
        drain.went(50, 2, tick / 10, waits=True)
    assert drain.per_s(99.9) == pytest.approx(500.0, rel=0.05)
