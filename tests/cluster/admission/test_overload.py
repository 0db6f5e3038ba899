"""Admission before simulated engines: what a flood and an overload do to those who are served."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from cluster.admission.refusal import RefusalReason
from cluster.admission.tenants import Tenant
from tests.cluster.admission.admission_cases import admission, tenant
from tests.cluster.admission.gateway_sim import Arrival, GatewaySim, poisson

UNTIL_S = 30.0
WARM_S = 5.0
TTFT_SLO_S = 2.0
MAX_WAIT_S = 1.5  # the rest is the engine's


def p99(values_s: Sequence[float]) -> float:
    return float(np.percentile(values_s, 99))


def ttfts_s(arrivals: Sequence[Arrival], of: Tenant) -> list[float]:
    return [
        each.ttft_s
        for each in arrivals
        if each.tenant == of and each.at_s > WARM_S and each.first_token_s is not None
    ]


def overload(per_s: float, **changes: float) -> tuple[list[Arrival], float]:
    """Three tenants offer that much together; and the goodput, in requests a second."""
    tenants = [tenant(name) for name in "abc"]
    arrivals = [
        arrival
        for seed, each in enumerate(tenants)
        for arrival in poisson(Random(seed), each, per_s / 3, UNTIL_S, 500, 200)
    ]
    sim = GatewaySim(admission(*tenants, **{"max_wait_s": MAX_WAIT_S, **changes}), engines=1)
    sim.run(arrivals, UNTIL_S)
    good = [
        each
        for each in arrivals
        if each.done_s is not None and each.done_s > WARM_S and each.ttft_s <= TTFT_SLO_S
    ]
    return arrivals, len(good) / (UNTIL_S - WARM_S)


@pytest.fixture(scope="module")
def peak_rps() -> float:
    """The best goodput of any load; past it, it does not grow."""
    return max(overload(per_s)[1] for per_s in (18.0, 22.0))


def test_below_saturation_nobody_is_refused_and_nothing_waits_long() -> None:
    arrivals, _ = overload(14.0)
    assert [each for each in arrivals if each.refused] == []
    assert p99([each.ttft_s for each in arrivals if each.first_token_s is not None]) < 0.5


def test_at_three_times_the_peak_goodput_stays_and_the_accepted_keep_their_slo(
    peak_rps: float,
) -> None:
    arrivals, good_rps = overload(3 * peak_rps)
    assert good_rps >= 0.9 * peak_rps
    waits_s = [wait_s for name in "abc" for wait_s in ttfts_s(arrivals, tenant(name))]
    assert p99(waits_s) <= TTFT_SLO_S


def test_most_of_what_is_refused_is_refused_early_and_rightly(peak_rps: float) -> None:
    """Of the same tenant, the last one before it that was let in did wait about as long as it
    may, so the refused one would hardly have been served in time. (Waits go up and down, so for a
    few per cent that says nothing.)"""
    arrivals, _ = overload(3 * peak_rps)
    last_wait_s: dict[str, float] = {}
    early = wrong = late = 0
    for each in arrivals_in_order(arrivals):
        name = each.tenant.name
        if each.refused is None:
            if each.sent_s is not None:
                last_wait_s[name] = each.sent_s - each.at_s
        elif each.refused.reason is RefusalReason.WAITED:
            last_wait_s[name] = MAX_WAIT_S
            late += 1
        elif each.at_s > WARM_S:
            early += 1
            wrong += last_wait_s[name] < 0.75 * MAX_WAIT_S
    assert early > late
    assert wrong <= 0.05 * early


def arrivals_in_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    return sorted(arrivals, key=lambda each: each.at_s)


def test_waiting_at_the_gateway_costs_no_throughput() -> None:
    """Against all that comes being sent to the engines at once, in the same time."""
    rates = []
    for queue_at_gateway in (True, False):
        arrivals, _ = overload(45.0, queue_at_gateway=queue_at_gateway, max_wait_s=1e6)
        done = [each for each in arrivals if each.done_s is not None and each.done_s > WARM_S]
        rates.append(sum(each.prompt_tokens + each.output_tokens for each in done))
    assert rates[0] >= 0.97 * rates[1]


LIGHT, FLOOD = tenant("light"), tenant("flood")
NIGHTLY = tenant("nightly", priority="batch", max_wait_s=1e6)


FLOOD_UNTIL_S = 60.0


def light_p99_s(beside: Tenant | None) -> float:
    """Of a tenant with prompts of 4,000 tokens that uses about a seventh of the engine, alone or
    beside one that floods it with 20 times its half."""
    arrivals = poisson(Random(3), LIGHT, 0.7, FLOOD_UNTIL_S, 4000, 50)
    if beside is not None:
        arrivals += poisson(Random(9), beside, 240.0, FLOOD_UNTIL_S, 500, 100)
    sim = GatewaySim(admission(LIGHT, FLOOD, NIGHTLY), engines=1)
    sim.run(arrivals, FLOOD_UNTIL_S)
    assert not [each for each in arrivals if each.tenant == LIGHT and each.refused]
    return p99(ttfts_s(arrivals, LIGHT))


@pytest.mark.parametrize("beside", [FLOOD, NIGHTLY], ids=["a flood", "a batch flood"])
def test_a_tenant_at_twenty_times_its_share_delays_only_itself(beside: Tenant) -> None:
    assert light_p99_s(beside) <= 1.5 * light_p99_s(None)
