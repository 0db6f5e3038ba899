"""Learns what an engine's steps take, from the steps themselves.

Least squares of `base_s + prefill_token_s * prefill_tokens + decode_request_s * decode_requests` on
the duration of each step. Errors count relative to the predicted duration: a step of 400 ms that is
off by 10 % says no more than one of 10 ms.

A step replaces what is known of steps like it, with a half-life of `HALF_LIFE_STEPS` of them, and
nothing else (`cluster.routing.directional_least_squares`): hours without a prefill leave
`prefill_token_s` as it was, and hours with one size of batch what other sizes told, without which
base and decodes cannot be told apart.

The least squares themselves may be negative, where steps tell two coefficients hardly apart. What
is given out is the nearest point, in their own measure, where none is.
"""

from __future__ import annotations

from math import inf

from cluster.routing.directional_least_squares import DirectionalLeastSquares, Triple
from cluster.types import StepCost

HALF_LIFE_STEPS = 70
"""Of one kind; about three times as many where steps of all kinds are mixed. That is seconds of a
busy engine: fewer steps are their noise, with more it follows a change too late."""

MIN_STEPS = 32
MIN_PREFILL_STEPS = 8
"""Steps before anything is said: ten for each coefficient, and what a few requests bring."""

CLIP = 3.0
"""A step longer than this many times its prediction (a stall, a compile) counts as this long. A
lasting change still comes through, since the prediction follows."""

LASTING_STEPS = 32
"""So many in a row, each off by more than `CLIP` times, are no stall: the engine is another now. It
is learnt anew, since what many steps told of the old one would be forgotten too slowly."""

LEAST_FRAC = 0.1
"""Of the step itself: predictions below it count as it, so that no error is out of all measure."""

RIDGE = 1e-6
"""Weight, in steps, that holds what the steps do not tell apart where it is."""

PREFILL_SCALE, DECODE_SCALE = 1024.0, 32.0
"""Prompt tokens and requests about as many as in a typical step, so that the three coefficients are
of one size to the arithmetic, and to the ridge."""


class StepCostLearner:
    """The step cost of one engine, by what `observe` was told."""

    def __init__(self) -> None:
        self._fit = DirectionalLeastSquares(HALF_LIFE_STEPS)  # of steps of the scales' size
        self._steps = 0
        self._prefill_steps = 0
        self._odd_steps = 0  # in a row
        self._judges_from = 0  # so many steps on
        self._last = (0, 0, 0.0)
        self._expected_s = 0.0  # of the last

    @property
    def cost(self) -> StepCost | None:
        """None until it has seen enough steps."""
        if not self._has_seen_enough():
            return None
        base_s, prefill_s, decode_s = self._fit.nearest_non_negative()
        return StepCost(
            base_s=base_s,
            prefill_token_s=prefill_s / PREFILL_SCALE,
            decode_request_s=decode_s / DECODE_SCALE,
        )

    def observe(
        self, prefill_tokens: int, decode_requests: int, step_s: float, steps: int = 1
    ) -> None:
        """So many steps in a row, all alike, took `step_s` each: the same as to tell of each.

        Raises ValueError for what no step can be.
        """
        if prefill_tokens < 0 or decode_requests < 0 or not 0.0 < step_s < inf or steps < 1:
            raise ValueError(_wrong(prefill_tokens, decode_requests, step_s, steps))
        features = (1.0, prefill_tokens / PREFILL_SCALE, decode_requests / DECODE_SCALE)
        if (prefill_tokens, decode_requests, step_s) != self._last:
            # Equal steps in a row are held against one prediction: so many at once are the same.
            self._last = (prefill_tokens, decode_requests, step_s)
            self._expected_s = self._expect_s(features, step_s)
        expected_s = self._expected_s
        clipped_s = min(step_s, CLIP * expected_s)
        is_odd = clipped_s < step_s or step_s * CLIP < expected_s
        now = min(steps, LASTING_STEPS - self._odd_steps) if is_odd else steps
        self._fit.learn(features, clipped_s, 1.0 / (expected_s * expected_s), now)
        self._steps += now
        self._prefill_steps += now if prefill_tokens else 0
        self._odd_steps = self._odd_steps + now if is_odd else 0
        if self._odd_steps == LASTING_STEPS:
            self._begin_anew(step_s)
        if now < steps:
            self.observe(prefill_tokens, decode_requests, step_s, steps - now)

    def _begin_anew(self, step_s: float) -> None:
        """Keeps the coefficients, but any step may change them. As many as at first are held
        against themselves."""
        self._fit.doubt(step_s * step_s / RIDGE)
        self._expected_s = step_s
        self._odd_steps = 0
        self._judges_from = self._steps + MIN_STEPS

    def _has_seen_enough(self) -> bool:
        return self._steps >= MIN_STEPS and self._prefill_steps >= MIN_PREFILL_STEPS

    def _expect_s(self, features: Triple, step_s: float) -> float:
        """What errors are relative to: the prediction, or the step itself before there is one.
        (Relative to itself, a step that is far too long has hardly any weight.)"""
        if self._steps == 0:
            self._begin_anew(step_s)
        if self._steps < self._judges_from or not self._has_seen_enough():
            return step_s
        base_s, prefill_s, decode_s = self._fit.nearest_non_negative()
        predicted_s = base_s + features[1] * prefill_s + features[2] * decode_s
        return max(predicted_s, LEAST_FRAC * step_s)


def _wrong(prefill_tokens: int, decode_requests: int, step_s: float, steps: int) -> str:
    if prefill_tokens < 0 or decode_requests < 0:
        return (
            f"a step of {prefill_tokens} prompt tokens and {decode_requests} requests: "
            "neither can be below 0"
        )
    if steps < 1:
        return f"{steps} steps: there must be at least 1"
    return f"a step of {step_s} s: it must be finite and above 0"
