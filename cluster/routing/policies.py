"""Every policy by the name it has in the spec.

ValueError
└ UnknownPolicy     no policy of that name
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cluster.routing import Router
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.routing.power_of_two import PowerOfTwo
from cluster.routing.predicted_cost import PredictedCost
from cluster.routing.prefix_affinity import PrefixAffinity
from cluster.routing.random_choice import RandomChoice
from cluster.routing.round_robin import RoundRobin
from cluster.routing.session_affinity import SessionAffinity

POLICIES: Mapping[str, Callable[[], Router]] = MappingProxyType(
    {
        "predicted_cost": PredictedCost,
        "least_load": LeastOutstandingTokens,
        "round_robin": RoundRobin,
        "random": RandomChoice,
        "power_of_two": PowerOfTwo,
        "session_affinity": SessionAffinity,
        "prefix_affinity": PrefixAffinity,
    }
)


class UnknownPolicy(ValueError):
    """No routing policy is called `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name!r} is no routing policy: not one of {', '.join(POLICIES)}"


def router(name: str) -> Router:
    """A new router of the policy called `name`. Raises UnknownPolicy."""
    if name not in POLICIES:
        raise UnknownPolicy(name)
    return POLICIES[name]()
