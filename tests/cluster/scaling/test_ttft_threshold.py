"""A threshold on the TTFT."""

from __future__ import annotations

from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.signals import Signals
from cluster.scaling.ttft_threshold import TtftThreshold
from tests.cluster.scaling.scaled import engine, gateway


def played(
    ttft_s: float, seconds: int, target: int = 2, least: int = 1, rate: int = 5
) -> list[int]:
    policy = TtftThreshold(ScalingLimits(least=least, most=4), Slo(ttft_s=2.0))
    found = []
    for second in range(seconds):
        total = rate * second
        signals = Signals(
            engines=[engine(f"e{n}") for n in range(target)],
            gateways=[gateway(total, ttft_sum_s=ttft_s * total)],
            target=target,
        )
        target = policy.decide(signals, float(second)).target
        found.append(target)
    return found


def test_above_it_goes_up_by_one_a_pause() -> None:
    found = played(1.5, 200)
    assert [found.index(3), found.index(4)] == [1, 61]
    assert found[-1] == 4


def test_between_the_thresholds_it_stays() -> None:
    assert set(played(0.7, 400)) == {2}


def test_well_below_it_goes_down_by_one_a_delay() -> None:
    found = played(0.1, 700, target=3)
    assert [found.index(2), found.index(1)] == [300, 600]


def test_where_nobody_asks_the_last_one_goes_if_it_may() -> None:
    assert played(0.0, 700, target=1, least=0, rate=0)[-1] == 0
    assert played(0.0, 700, target=1, least=1, rate=0)[-1] == 1
