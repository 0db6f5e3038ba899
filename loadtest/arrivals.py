"""When the requests of an open loop are due: arrival processes, drawn from a seed before the start.

    constant   one every 1 / rate
    poisson    independent users: exponential gaps
    gamma      gaps with a chosen coefficient of variation (CV): above 1 burstier than Poisson
    ramp       Poisson, the rate on a line from one value to another over the whole load
    step       Poisson, the rate constant for a while, then another; the list repeats
    sinusoid   Poisson, the rate on a sine: days and nights
    trace      given instants, at another speed if wanted

The three with a rate that varies are drawn by inversion: instants of a Poisson process of rate 1
are taken through the inverse of the cumulated rate (Cinlar, Introduction to Stochastic Processes,
1975, section 4.7). Unlike thinning it uses one draw an arrival, so a load at another scale is the
same load, only denser. Draws come from `random.Random`, whose sequences outlive Python releases;
numpy's are not promised to. No I/O and no clock.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import ceil, isfinite, pi
from random import Random
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Floats = NDArray[np.float64]
P = TypeVar("P", bound="Process")
BISECTIONS = 60  # halvings of the duration: to below the spacing of floats

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


class _SteadyRate(Process):
    """The same rate all the time."""

    rate_per_s: Positive = Field(description="Arrivals a second, on average.")

    def average_per_s(self) -> float:
        return self.rate_per_s

    def times(self, factor: float) -> Self:
        return self.model_copy(update={"rate_per_s": self.rate_per_s * factor})


class Constant(_SteadyRate):
    """Evenly spaced, the first at 0."""

    kind: Literal["constant"] = "constant"

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        return (index / self.rate_per_s for index in range(ceil(duration_s * self.rate_per_s)))


class Poisson(_SteadyRate):
    """Independent arrivals: exponential gaps, CV 1."""

    kind: Literal["poisson"] = "poisson"

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        unit = unit_poisson(duration_s * self.rate_per_s, rng)
        return (instant / self.rate_per_s for instant in unit)


class Gamma(_SteadyRate):
    """Independent gamma-distributed gaps. CV 1 is Poisson; vLLM's `burstiness` is 1 / CV²."""

    kind: Literal["gamma"] = "gamma"
    cv: float = Field(
        ge=0.01,
        le=100,
        description="Standard deviation of the gaps over their mean. Below 1 steadier than "
        "Poisson, above 1 in bursts. 0.01 to 100; for 0 there is `constant`.",
    )

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        shape, scale_s = self.cv**-2, self.cv**2 / self.rate_per_s
        # The load begins in the middle of a gap, as for one who comes at any moment: long gaps are
        # met more often, which for gamma is one more in the shape. So the rate is right from the
        # start on; a whole gap before the first arrival would lack some where the CV is not 1.
        at_s = rng.random() * rng.gammavariate(shape + 1, scale_s)
        while at_s < duration_s:
            yield at_s
            at_s += rng.gammavariate(shape, scale_s)


class _VaryingRate(Process):
    """Poisson with a rate that varies over time."""

    @abstractmethod
    def cumulated(self, at_s: Floats, duration_s: float) -> Floats:
        """Arrivals expected in [0, at_s): the integral of the rate."""

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        def expected(at_s: Floats) -> Floats:
            return self.cumulated(at_s, duration_s)

        unit = unit_poisson(float(expected(np.array([duration_s]))[0]), rng)
        return [float(x) for x in inverse(expected, np.array(unit), duration_s)]


class Ramp(_VaryingRate):
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


class Step(_VaryingRate):
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


class Sinusoid(_VaryingRate):
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


class Trace(Process):
    """Given instants. Nothing is random; what lies past the load's end is left out."""

    kind: Literal["trace"] = "trace"
    at_s: tuple[NotNegative, ...] = Field(
        strict=False,
        min_length=1,
        description="Instants in seconds since the start, in any order.",
    )
    speed_up: float = Field(
        default=1.0, gt=0, description="2 plays the trace in half its time. Default 1."
    )

    def average_per_s(self) -> float:
        """Instants over the time until the last. Raises ValueError where all are at 0."""
        last_s = max(self.at_s)
        if last_s == 0:
            raise ValueError("a trace whose instants are all 0 has no rate")
        return len(self.at_s) / last_s * self.speed_up

    def times(self, factor: float) -> Self:
        return self.model_copy(update={"speed_up": self.speed_up * factor})

    def draw(self, duration_s: float, rng: Random) -> Iterable[float]:
        return (at_s / self.speed_up for at_s in self.at_s)


Arrivals = Annotated[
    Constant | Poisson | Gamma | Ramp | Step | Sinusoid | Trace, Field(discriminator="kind")
]
"""For a field of a pydantic model: `{kind: poisson, rate_per_s: 4}`."""


def instants_s(arrivals: Process, duration_s: float, seed: int) -> list[float]:
    """When arrivals are due, sorted, in [0, duration_s); the same for the same seed.

    Raises ValueError for a duration that is not above 0 and finite.
    """
    if not (isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"duration_s must be above 0 and finite, not {duration_s}")
    rng = Random(f"arrivals {seed}")
    return sorted(at_s for at_s in arrivals.draw(duration_s, rng) if at_s < duration_s)


def scaled(arrivals: P, rate_per_s: float) -> P:
    """The same shape at another mean rate: with the same seed and no end to the load, the same
    arrivals at another speed where the rate is constant. Raises ValueError for a rate that is not
    above 0 and finite."""
    if not (isfinite(rate_per_s) and rate_per_s > 0):
        raise ValueError(f"rate_per_s must be above 0 and finite, not {rate_per_s}")
    return arrivals.times(rate_per_s / arrivals.average_per_s())


def unit_poisson(end: float, rng: Random) -> list[float]:
    """Instants in [0, end) of a Poisson process of rate 1."""
    instants: list[float] = []
    at = rng.expovariate(1)
    while at < end:
        instants.append(at)
        at += rng.expovariate(1)
    return instants


def inverse(cumulated: Callable[[Floats], Floats], totals: Floats, end: float) -> Floats:
    """Where in [0, end] a rising `cumulated` reaches each of `totals`, by bisection."""
    low, high = np.zeros_like(totals), np.full_like(totals, end)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        before = cumulated(middle) <= totals
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return low
