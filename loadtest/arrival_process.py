"""What all arrival processes have in common; `loadtest/arrivals.py` says which there are."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from random import Random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Process(BaseModel, ABC):
    """What every arrival process can do. Instants count from the start of the load."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @abstractmethod
    def average_per_s(self) -> float:
        """Arrivals a second, on average over the whole load (step, sinusoid: over whole cycles)."""

    @abstractmethod
    def times(self, factor: float) -> Self:
        """The same shape with every rate multiplied by `factor`, which is above 0."""

    @abstractmethod
    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        """The instants; those at `duration_s` or later are dropped by `instants_s`."""


def unit_poisson(end: float, rng: Random) -> list[float]:
    """Instants in [0, end) of a Poisson process of rate 1."""
    instants: list[float] = []
    at = rng.expovariate(1)
    while at < end:
        instants.append(at)
        at += rng.expovariate(1)
    return instants
