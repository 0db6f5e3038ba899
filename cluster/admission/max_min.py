"""Dividing one limit among gateways: max-min fair by demand, with a floor under every share.

Nobody gets less than the floor, so that a burst somewhere new finds something until shares follow.
Of the rest, nobody gets more than it asks for while another gets less than that and less than the
first. What nobody asks for is divided equally. The shares sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

FLOOR_FRAC = 0.2
"""Of the limit, divided equally among all gateways whatever they ask for: with the demand at one
gateway alone it still gets four fifths of the limit, and a new burst elsewhere finds a fifth of an
equal share."""


def shares(demand_fracs: Mapping[str, float]) -> dict[str, float]:
    """One share (0 to 1) for each gateway; `demand_fracs` are parts of the limit, 0 or more."""
    if not demand_fracs:
        return {}
    floor_frac = FLOOR_FRAC / len(demand_fracs)
    wanted = {name: max(frac, floor_frac) for name, frac in demand_fracs.items()}
    spare = 1.0 - sum(wanted.values())
    if spare >= 0.0:
        return {name: frac + spare / len(wanted) for name, frac in wanted.items()}
    level = _level(sorted(wanted.values()))
    return {name: min(frac, level) for name, frac in wanted.items()}


def _level(wanted: list[float]) -> float:
    """Where to cap `wanted` (ascending, of sum above 1) so that they sum to 1."""
    left = 1.0
    for place, frac in enumerate(wanted):
        level = left / (len(wanted) - place)
        if frac >= level:
            return level
        left -= frac
    raise AssertionError(f"{wanted} sum to 1 or less")


def whole_shares(demands: Mapping[str, float], units: int) -> dict[str, int]:
    """The same in whole units, which sum to `units`: each the share rounded down, and what is left
    goes, one by one, to those with the most unmet demand (then to the first by name).

    `demands`: in units. With fewer units than gateways some get none.
    """
    fractions = shares({name: demand / units for name, demand in demands.items()})
    given = {name: floor(frac * units + 1e-9) for name, frac in fractions.items()}
    for _ in range(units - sum(given.values()) if given else 0):
        neediest = min(given, key=lambda name: (given[name] - demands[name], name))
        given[neediest] += 1
    return given
