"""Arrival processes whose rate varies: Poisson, drawn by inversion.

Instants of a Poisson process of rate 1 are taken through the inverse of the cumulated rate (Cinlar,
Introduction to Stochastic Processes, 1975, section 4.7). Unlike thinning that takes one draw an
arrival, so the same seed at another scale is the same load, only denser.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import pi
from random import Random
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from loadtest.arrival_process import NotNegative, Positive, Process, unit_poisson

Floats = NDArray[np.float64]
BISECTIONS = 60  # halvings of the duration: to below the spacing of floats


class VaryingRate(Process):
    """Poisson with a rate that varies over time."""

    @abstractmethod
    def cumulated(self, at_s: Floats, duration_s: float) -> Floats:
        """Arrivals expected in [0, at_s): the integral of the rate."""

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        def expected(at_s: Floats) -> Floats:
            return self.cumulated(at_s, duration_s)

        unit = unit_poisson(float(expected(np.array([duration_s]))[0]), rng)
        return [float(x) for x in inverse(expected, np.array(unit), duration_s)]


class Ramp(VaryingRate):
    """From one rate to another on a line over the whole load; finds the knee."""

    kind: Literal["ramp"] = "ramp"
    from_per_s: NotNegative = Field(description="Arrivals a second at the start; may be 0.")
    to_per_s: NotNegative = Field(description="Arrivals a second at its end; not 0 too.")

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.from_per_s == self.to_per_s == 0:
            raise ValueError("from_per_s and to_per_s are both 0: nothing would arrive")
        return self

    def average_per_s(self) -> float:
        return (self.from_per_s + self.to_per_s) / 2

    def times(self, factor: float) -> Self:
        ends = {"from_per_s": self.from_per_s * factor, "to_per_s": self.to_per_s * factor}
        return self.model_copy(update=ends)

    def cumulated(self, at_s: Floats, duration_s: float) -> Floats:
        slope = (self.to_per_s - self.from_per_s) / duration_s
        return self.from_per_s * at_s + slope * at_s**2 / 2


class OneRate(BaseModel):
    """One rate for a while."""

    model_config = Process.model_config

    rate_per_s: NotNegative = Field(description="Arrivals a second; 0 is a pause.")
    for_s: float = Field(gt=0, description="How long, in seconds.")


class Step(VaryingRate):
    """OneRates one after the other, from the first again after the last until the load ends: two
    steps are bursts on a base load, and a list as long as the load is a staircase."""

    kind: Literal["step"] = "step"
    steps: tuple[OneRate, ...] = Field(
        strict=False,  # YAML has lists, the model holds a tuple
        min_length=1,
        description="Each `{rate_per_s, for_s}`, in order. Not all of rate 0.",
    )

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if not any(step.rate_per_s for step in self.steps):
            raise ValueError("every step has rate 0: nothing would arrive")
        return self

    def average_per_s(self) -> float:
        ends_s, totals = self._ends()
        return totals[-1] / ends_s[-1]

    def times(self, factor: float) -> Self:
        steps = tuple(
            step.model_copy(update={"rate_per_s": step.rate_per_s * factor}) for step in self.steps
        )
        return self.model_copy(update={"steps": steps})

    def cumulated(self, at_s: Floats, duration_s: float) -> Floats:
        ends_s, totals = self._ends()
        rounds, into_s = np.divmod(at_s, ends_s[-1])
        return rounds * totals[-1] + np.interp(into_s, ends_s, totals)

    def _ends(self) -> tuple[list[float], list[float]]:
        """From 0 on: when each step of a round ends, and the arrivals expected until then."""
        ends_s = accumulate((step.for_s for step in self.steps), initial=0.0)
        totals = accumulate((s.rate_per_s * s.for_s for s in self.steps), initial=0.0)
        return list(ends_s), list(totals)


class Sinusoid(VaryingRate):
    """mean + amplitude * sin(2 pi t / period): begins at the mean, rising."""

    kind: Literal["sinusoid"] = "sinusoid"
    mean_per_s: Positive = Field(description="Arrivals a second over whole periods.")
    amplitude_per_s: NotNegative = Field(description="Above and below the mean; at most it.")
    period_s: float = Field(gt=0, description="Seconds from one crest to the next.")

    @model_validator(mode="after")
    def _not_negative(self) -> Self:
        if self.amplitude_per_s > self.mean_per_s:
            raise ValueError(
                f"amplitude_per_s {self.amplitude_per_s:g} is above mean_per_s "
                f"{self.mean_per_s:g}: the rate would be negative"
            )
        return self

    def average_per_s(self) -> float:
        return self.mean_per_s

    def times(self, factor: float) -> Self:
        rates = {
            "mean_per_s": self.mean_per_s * factor,
            "amplitude_per_s": self.amplitude_per_s * factor,
        }
        return self.model_copy(update=rates)

    def cumulated(self, at_s: Floats, duration_s: float) -> Floats:
        per_radian = self.period_s / (2 * pi)
        wave = self.amplitude_per_s * per_radian * (1 - np.cos(at_s / per_radian))
        return self.mean_per_s * at_s + wave


def inverse(cumulated: Callable[[Floats], Floats], totals: Floats, end: float) -> Floats:
    """Where in [0, end] a rising `cumulated` reaches each of `totals`, by bisection."""
    low, high = np.zeros_like(totals), np.full_like(totals, end)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        before = cumulated(middle) <= totals
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return low
