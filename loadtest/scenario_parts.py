"""What every part of a scenario is made of: the strict base, and values drawn at random.

A drawn value is written as a number where it is always the same, or as a spread:

    prompt_tokens: 200
    prompt_tokens: {min: 50, max: 400}                           # all equally likely
    prompt_tokens: {min: 50, max: 1500, median: 200, sigma: 1}   # log-normal, as people's are
"""

from collections.abc import Mapping
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

EXAMPLE = "{min: 50, max: 400}"
EDGE = 2**-53  # a probability of 0 or 1 has no finite quantile


class Part(BaseModel):
    """A frozen part that takes no unknown keys, and no `"2"` or `true` for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Spread(Part):
    """The subclasses add `min` and `max`, which are of their own type."""

    median: float | None = Field(
        default=None,
        gt=0,
        description="Median of the log-normal distribution of which min and max cut off the ends. "
        "Default none: all values are equally likely.",
    )
    sigma: float = Field(
        default=1.0,
        gt=0,
        le=3,
        description="Standard deviation of the value's natural logarithm; used with a median. "
        "Default 1: two thirds of the values are within a factor of 2.7 of the median.",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_number(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"min": value, "max": value}
        if not isinstance(value, cls | Mapping):
            raise ValueError(f"{value!r:.80} is neither a number nor a spread: {EXAMPLE}")
        return value

    @field_validator("max", check_fields=False)
    @classmethod
    def _in_order(cls, value: float, info: ValidationInfo) -> float:
        low, median = info.data.get("min"), info.data.get("median")
        if low is not None and value < low:
            raise ValueError(f"{value} is below min ({low})")
        if low is not None and median is not None and not low <= median <= value:
            raise ValueError(f"the median {median:g} is not within min ({low}) and max ({value})")
        return value

    def _log_normal(self, median: float, low: float, high: float, rng: Random) -> float:
        logarithm = NormalDist(log(median), self.sigma)
        below_low = logarithm.cdf(log(low)) if low > 0 else 0.0
        chance = rng.uniform(below_low, logarithm.cdf(log(high)))
        value = exp(logarithm.inv_cdf(min(max(chance, EDGE), 1 - EDGE)))
        return min(max(value, low), high)


class Tokens(_Spread):
    """A number of tokens, or of anything else that is counted."""

    min: int = Field(ge=1, description="Least value. Required.")
    max: int = Field(ge=1, description="Largest value, inclusive. Required.")

    def draw(self, rng: Random) -> int:
        if self.median is None:
            return rng.randint(self.min, self.max)
        return round(self._log_normal(self.median, self.min, self.max, rng))


class Seconds(_Spread):
    """A time in seconds."""

    min: float = Field(ge=0, description="Least value in seconds. Required.")
    max: float = Field(ge=0, description="Largest value in seconds, inclusive. Required.")

    def draw(self, rng: Random) -> float:
        if self.median is None:
            return rng.uniform(self.min, self.max)
        return self._log_normal(self.median, self.min, self.max, rng)
