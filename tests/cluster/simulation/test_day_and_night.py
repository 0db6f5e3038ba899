"""Arrivals over days and nights."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.simulation.day_and_night import with_days
from tests.cluster.simulation.simulated import unshared

EVEN = unshared([float(second) for second in range(10_001)], [4] * 10_001, [1] * 10_001)


@pytest.mark.parametrize(("days", "day_frac"), [(1, 1.0), (2, 1.0), (1, 0.5)])
def test_the_rate_is_a_sine_by_day_and_low_at_night(days: int, day_frac: float) -> None:
    found = with_days(EVEN, days=days, night_frac=0.1, day_frac=day_frac)
    arrivals_s = [r.arrival_s for r in found.requests]
    period_s = 10_000 / days
    peak_s = day_frac * period_s / 2
    at_peak, at_night = (
        sum(mid_s - 100 <= at_s < mid_s + 100 for at_s in arrivals_s)
        for mid_s in (peak_s, period_s - 100 if day_frac == 1 else period_s * 0.75)
    )
    assert at_night / at_peak == pytest.approx(0.1, abs=0.02)
    mean = day_frac * (0.1 + 0.9 / 2) + (1 - day_frac) * 0.1
    assert at_peak == pytest.approx(200 / mean, rel=0.03)


@settings(max_examples=50, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 50), min_size=1, max_size=30), days=st.integers(1, 3),
    night_frac=st.floats(0.01, 1), day_frac=st.floats(0.05, 1),
)  # fmt: skip
def test_order_and_span_stay(
    gaps: list[float], days: int, night_frac: float, day_frac: float
) -> None:
    arrivals_s = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    work = unshared(arrivals_s, [4] * len(gaps), [1] * len(gaps))
    found = with_days(work, days=days, night_frac=night_frac, day_frac=day_frac)
    moved_s = [r.arrival_s for r in found.requests]
    assert moved_s == sorted(moved_s)
    assert moved_s[0] == pytest.approx(arrivals_s[0])
    assert moved_s[-1] == pytest.approx(arrivals_s[-1])
    assert len(found.notes) == 1


@pytest.mark.parametrize(
    "change", [{"days": 0}, {"night_frac": 0.0}, {"night_frac": 1.1}, {"day_frac": 0.0}]
)
def test_what_is_no_day_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        with_days(EVEN, **change)  # type: ignore[arg-type]
