"""Ray Serve's policy as its documentation has it."""

from __future__ import annotations

from cluster.scaling.limits import ScalingLimits
from cluster.scaling.ongoing_requests import OngoingRequests, OngoingRequestsSettings
from cluster.scaling.signals import EngineState, Signals
from tests.cluster.scaling.scaled import engine, gateway


def played(policy: OngoingRequests, ongoing: list[int], target: int = 1) -> list[int]:
    """Targets, one a second, where engines are ready at once."""
    found = []
    for second, requests in enumerate(ongoing):
        engines = [engine(f"e{n}", running_requests=0) for n in range(target)]
        if engines:
            engines[0] = engine("e0", running_requests=requests)
        held = 0 if engines else requests
        signals = Signals(engines=engines, gateways=[gateway(held_requests=held)], target=target)
        target = policy.decide(signals, float(second)).target
        found.append(target)
    return found


def policy(least: int = 1, **settings: float) -> OngoingRequests:
    quick = {"look_back_s": 0.5, "upscale_delay_s": 3.0, "downscale_delay_s": 6.0}
    return OngoingRequests(
        ScalingLimits(least=least, most=9), OngoingRequestsSettings(**(quick | settings))
    )


def test_it_goes_up_after_the_delay_to_what_is_desired_then() -> None:
    assert played(policy(), [6] * 5) == [1, 1, 1, 3, 3]


def test_a_pause_begins_the_delay_anew() -> None:
    assert played(policy(), [6, 6, 2, 6, 6, 6, 6]) == [1, 1, 1, 1, 1, 1, 3]


def test_it_goes_down_after_the_longer_delay_and_to_none_only_from_one() -> None:
    assert played(policy(least=0), [0] * 14, target=3) == [*[3] * 6, *[1] * 7, 0]


def test_from_none_it_goes_up_at_once() -> None:
    assert played(policy(least=0), [0, 1], target=0) == [0, 1]


def test_a_factor_makes_steps_smaller_and_never_none() -> None:
    assert played(policy(upscaling_factor=0.5), [12] * 4)[-1] == 4  # 1 + half of 5, rounded up
    assert played(policy(downscaling_factor=0.1), [2] * 7, target=4)[-1] == 3


def test_it_averages_over_the_look_back() -> None:
    assert played(policy(look_back_s=9.0, upscale_delay_s=0.0), [0, 0, 0, 16])[-1] == 2


def test_engines_that_start_do_not_run() -> None:
    starting = [engine("e0", EngineState.STARTING)]
    signals = Signals(engines=starting, gateways=[gateway(held_requests=50)], target=1)
    assert policy().decide(signals, 0.0).target == 1
