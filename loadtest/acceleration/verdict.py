"""Which variant to take, by a rule: the fastest of those that are not worse than allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.acceleration.measured import Measured
from loadtest.acceleration.variants import AGAIN, BASE

ROUNDING = 1e-9
"""One of a hundred items is 1 %, whatever floats make of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`speed`: output tokens a second over the base's. `quality`: mean exact match."""

    variant: str
    speed: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`chosen`: None where nothing is faster than the base without being worse than allowed.
    `noise_frac`: by how much the base differs from itself; less than that is no difference."""

    chosen: str | None
    noise_frac: float
    front: Sequence[str]
    sentence: str


def points(found: Sequence[Measured]) -> list[Point]:
    base = next(each for each in found if each.variant == BASE)
    assert base.speed is not None
    return [
        Point(
            variant=each.variant,
            speed=each.speed.output_tokens_per_s / base.speed.output_tokens_per_s,
            quality=each.quality.exact_frac,
        )
        for each in found
        if each.speed is not None and each.quality is not None
    ]


def front(of: Sequence[Point]) -> list[str]:
    """Those of which no other is both as fast and as right, and one of it more (Pareto)."""
    return [
        mine.variant
        for mine in of
        if not any(
            (its.speed, its.quality) != (mine.speed, mine.quality)
            and its.speed >= mine.speed
            and its.quality >= mine.quality
            for its in of
        )
    ]


def verdict(found: Sequence[Measured], most_loss_frac: float) -> Verdict:
    """`most_loss_frac`: of exact matches, less than the base has. Faster is what exceeds the base
    by more than the base's two runs differ."""
    of = points(found)
    base = next(each for each in of if each.variant == BASE)
    again = next((each for each in of if each.variant == AGAIN), base)
    noise = abs(again.speed - 1.0)
    able = [
        each
        for each in of
        if each.variant not in (BASE, AGAIN)
        and base.quality - each.quality <= most_loss_frac + ROUNDING
        and each.speed > 1.0 + noise
    ]
    best = max(able, key=lambda each: each.speed, default=None)
    bound = f"at most {most_loss_frac:.1%} fewer exact matches"
    if best is None:
        said = f"base: nothing is faster than it by more than its own two runs differ, with {bound}"
    else:
        said = f"{best.variant}: {best.speed:.2f} times the base's tokens a second, with {bound}"
    return Verdict(
        chosen=None if best is None else best.variant,
        noise_frac=noise,
        front=front([each for each in of if each.variant != AGAIN]),
        sentence=f"{said}; the base's two runs differ by {noise:.1%}",
    )
