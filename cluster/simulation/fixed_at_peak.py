"""The smallest fixed fleet that keeps the SLO over a workload: what elastic ones have to beat.

More engines are taken never to keep less of it, so the number is bisected.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.scaling.limits import Slo
from cluster.simulation.records import Run
from cluster.simulation.scaling_result import scaling_result


def fixed_at_peak(simulate: Callable[[int], Run], slo: Slo, most: int) -> tuple[int, Run]:
    """How many engines, and their run. `simulate`: a run with so many. Raises ValueError where
    `most` are not enough."""
    runs: dict[int, Run] = {}

    def attained(engines: int) -> float:
        runs[engines] = simulate(engines)
        return scaling_result(runs[engines], slo).attainment_frac or 0.0

    best = attained(most)
    if best < slo.attainment_frac:
        raise ValueError(
            f"{most} engines keep the SLO for {best:.2%} of the requests, not for "
            f"{slo.attainment_frac:.2%}"
        )
    low, high = 0, most  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        if attained(middle) >= slo.attainment_frac:
            high = middle
        else:
            low = middle
    return high, runs[high]
