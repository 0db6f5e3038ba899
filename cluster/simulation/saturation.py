"""The rate at which a fleet saturates: the largest at which completions follow arrivals.

At a rate, they follow if over the second half of the arrivals' time at least `FOLLOWS_FRAC` as many
requests end as arrive. The first half is the warm-up: of batches, queues and caches.

The rate is found by simulation, of the workload itself at other speeds. A run far beyond saturation
gives the rate of completions when engines never idle; around it the rate is bisected until it is
known to within `RESOLUTION_FRAC`. The result belongs to the fleet, the workload and the policy:
find it once, and give all policies that are to be compared the same.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from cluster.simulation.records import Run
from cluster.simulation.workload import Workload, sped_up

FOLLOWS_FRAC = 0.95
RESOLUTION_FRAC = 0.03
OVERLOAD = 1000.0
"""Times the workload's own rate: all but at once."""

STEP = 1.25
"""From one rate to the next while only one side of saturation is known."""

MOST_STEPS = 8
"""Upwards from the rate under overload, which is near."""

Simulate = Callable[[Workload, float], Run]
"""Simulates a workload until an instant."""


def saturation_rps(workload: Workload, simulate: Simulate) -> float:
    """Requests a second. Raises ValueError for a workload that is too short to have such a rate, or
    arrives at once."""
    first_rps = rate_rps = _completed_rps(workload, simulate)
    low_rps, high_rps = 0.0, inf
    while high_rps - low_rps > RESOLUTION_FRAC * first_rps:
        if _follows(sped_up(workload, rate_rps / workload.rate_rps), simulate):
            low_rps = rate_rps
        else:
            high_rps = rate_rps
        rate_rps = _between(low_rps, high_rps)
        if rate_rps > first_rps * STEP**MOST_STEPS:
            break
    if not low_rps or high_rps == inf:
        raise ValueError(f"{len(workload.requests)} requests are too few to saturate the fleet")
    return low_rps


def _between(low_rps: float, high_rps: float) -> float:
    if high_rps == inf:
        return low_rps * STEP
    return (low_rps + high_rps) / 2 if low_rps else high_rps / STEP


def _completed_rps(workload: Workload, simulate: Simulate) -> float:
    """How fast requests end while there are always more: over the middle half of them."""
    run = simulate(sped_up(workload, OVERLOAD), inf)
    ends_s = sorted(r.end_s for r in run.records if r.end_s is not None)
    first, last = len(ends_s) // 4, 3 * len(ends_s) // 4
    if last <= first or ends_s[last] <= ends_s[first]:
        raise ValueError(f"{len(ends_s)} requests that end are too few to find a rate")
    return (last - first) / (ends_s[last] - ends_s[first])


def _follows(workload: Workload, simulate: Simulate) -> bool:
    arrivals_s = [r.arrival_s for r in workload.requests if r.follows is None]
    begin_s, end_s = min(arrivals_s) + workload.span_s / 2, max(arrivals_s)
    records = simulate(workload, end_s).records
    arrived = sum(begin_s < r.arrival_s <= end_s for r in records)
    ended = sum(r.end_s is not None and begin_s < r.end_s <= end_s for r in records)
    return ended >= FOLLOWS_FRAC * arrived
