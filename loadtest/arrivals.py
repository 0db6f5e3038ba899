"""When the requests of an open loop are due: arrival processes, drawn from a seed before the start.

    constant   one every 1 / rate
    poisson    independent users: exponential gaps
    gamma      gaps with a chosen coefficient of variation (CV): above 1 burstier than Poisson
    ramp       Poisson, the rate on a line from one value to another over the whole load
    step       Poisson, the rate constant for a while, then another; the list repeats
    sinusoid   Poisson, the rate on a sine: days and nights
    trace      given instants, at another speed if wanted

Draws come from `random.Random`: numpy does not promise the same sequence in its next release. No
I/O and no clock.
"""

from collections.abc import Iterable
from math import ceil, inf, isfinite
from random import Random
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field

from loadtest.arrival_process import NotNegative, Positive, Process, unit_poisson
from loadtest.varying_arrivals import Ramp, Sinusoid, Step

P = TypeVar("P", bound=Process)


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
        """Instants over the time until the last. Raises ValueError where all are (almost) at 0."""
        last_s = max(self.at_s)
        rate_per_s = len(self.at_s) / last_s * self.speed_up if last_s else inf
        if not isfinite(rate_per_s):
            raise ValueError(f"a trace whose last instant is {last_s:g} s has no finite rate")
        return rate_per_s

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
    """The same shape at another mean rate. Raises ValueError for a rate that is not above 0 and
    finite."""
    if not (isfinite(rate_per_s) and rate_per_s > 0):
        raise ValueError(f"rate_per_s must be above 0 and finite, not {rate_per_s}")
    return arrivals.times(rate_per_s / arrivals.average_per_s())
