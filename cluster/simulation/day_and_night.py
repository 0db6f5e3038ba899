"""A workload whose rate rises and falls: a recorded hour stretched to have days and nights.

    rate(t) = night_frac + (1 - night_frac) * (1 - cos(2 pi s)) / 2,  s = phase / day_frac, by day

of the peak, and `night_frac` for the rest of the period. It begins at night. Arrivals keep their
order and the workload its span, so what the trace does by itself is still there, on top.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cluster.simulation.workload import Workload

POINTS = 4096
"""Of each period, between which the rate counts as even."""


def with_days(
    workload: Workload, *, days: int = 1, night_frac: float = 0.1, day_frac: float = 1.0
) -> Workload:
    """Raises ValueError for less than one day, and for fractions outside (0, 1]."""
    if days < 1:
        raise ValueError(f"days must be at least 1, not {days}")
    for name, frac in (("night_frac", night_frac), ("day_frac", day_frac)):
        if not 0 < frac <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {frac}")
    first_s = min(r.arrival_s for r in workload.requests if r.follows is None)
    span_s = workload.span_s
    phases = np.linspace(0.0, days, days * POINTS + 1)
    share = np.clip((phases % 1.0) / day_frac, 0.0, 1.0)
    rates = night_frac + (1.0 - night_frac) * (1.0 - np.cos(2.0 * np.pi * share)) / 2.0
    arrived = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2.0)])
    arrived /= arrived[-1]

    def moved(at_s: float) -> float:
        frac = np.interp((at_s - first_s) / span_s if span_s else 0.0, arrived, phases / days)
        return first_s + span_s * float(frac)

    return replace(
        workload,
        requests=[
            replace(r, arrival_s=moved(r.arrival_s)) if r.follows is None else r
            for r in workload.requests
        ],
        notes=[
            *workload.notes,
            f"arrivals are spread over {days} days and nights: at night {night_frac:g} of the "
            f"peak's rate, days of {day_frac:g} of the period; "
            f"mean / peak {float(rates[1:].mean()):.2f}",
        ],
    )
