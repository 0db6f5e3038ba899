"""Learns what an engine's steps take, from the steps themselves.

Recursive least squares of `base_s + prefill_token_s * prefill_tokens + decode_request_s *
decode_requests` on the duration of each step, in information form (the normal matrix is kept, and
solved for each step). Errors count relative to the predicted duration: a step of 400 ms that is
off by 10 % says no more than one of 10 ms.

What is known fades with a half-life of `HALF_LIFE_STEPS` steps, each coefficient's with steps that
tell of it only: hours without a prefill leave `prefill_token_s` as it was. (Fading by step alone
would forget it, and make the next step with a prefill decide everything: estimator windup.)

The least squares themselves may be negative, where steps tell two coefficients hardly apart. What
is given out is the nearest point, in their own measure, where none is.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from cluster.types import StepCost

HALF_LIFE_STEPS = 200
"""Seconds of a busy engine: fewer steps are their noise, with more it follows a change too late."""
KEEP = 0.5 ** (1.0 / HALF_LIFE_STEPS)

MIN_STEPS = 32
MIN_PREFILL_STEPS = 8
"""Steps before anything is said: ten for each coefficient, and what a few requests bring."""

CLIP = 3.0
"""A step longer than this many times its prediction (a stall, a compile) counts as this long. A
lasting change still comes through, since the prediction follows."""

LEAST_FRAC = 0.1
"""Of the mean step: predictions below it count as it, so that no error is out of all measure."""

RIDGE = 1e-6
"""Weight, in steps, that holds what the steps do not tell apart where it is."""

SCALES = np.array([1.0, 1024.0, 32.0])
"""Of a step, its prompt tokens and its requests: about as large as in a typical step, so that the
three coefficients are of one size to the arithmetic."""


class StepCostLearner:
    """The step cost of one engine, by what `observe` was told."""

    def __init__(self) -> None:
        self._information = np.zeros((3, 3))
        self._coefficients = np.zeros(3)  # each for a step of `SCALES`; may be negative
        self._given_out = np.zeros(3)  # the nearest that are not
        self._mean_step_s = 0.0
        self._steps = 0
        self._prefill_steps = 0

    @property
    def cost(self) -> StepCost | None:
        """None until it has seen enough steps."""
        if not self._has_seen_enough():
            return None
        base_s, prefill_token_s, decode_request_s = (self._given_out / SCALES).tolist()
        return StepCost(
            base_s=base_s, prefill_token_s=prefill_token_s, decode_request_s=decode_request_s
        )

    def observe(self, prefill_tokens: int, decode_requests: int, step_s: float) -> None:
        """A step took `step_s`. Raises ValueError for what no step can be."""
        _check(prefill_tokens, decode_requests, step_s)
        features = np.array([1.0, prefill_tokens, decode_requests]) / SCALES
        self._steps += 1
        self._prefill_steps += prefill_tokens > 0
        expected_s = self._expected_s(features, step_s)
        step_s = min(step_s, CLIP * expected_s)
        self._mean_step_s += (step_s - self._mean_step_s) / min(self._steps, HALF_LIFE_STEPS)
        self._update(features, step_s, expected_s)
        self._given_out = non_negative(self._information, self._coefficients)

    def _has_seen_enough(self) -> bool:
        return self._steps >= MIN_STEPS and self._prefill_steps >= MIN_PREFILL_STEPS

    def _expected_s(self, features: NDArray[np.float64], step_s: float) -> float:
        """What errors are relative to: the prediction, or the step itself before there is one.
        (Relative to itself, a step that is far too long has hardly any weight.)"""
        if not self._has_seen_enough():
            return step_s
        return max(float(features @ self._given_out), LEAST_FRAC * self._mean_step_s)

    def _update(self, features: NDArray[np.float64], step_s: float, expected_s: float) -> None:
        fade = np.where(features > 0.0, KEEP**0.5, 1.0)
        weight = 1.0 / expected_s**2
        ridge = RIDGE if self._steps == 1 else RIDGE * (1.0 - KEEP)  # all at once, then what fades
        self._information *= np.outer(fade, fade)
        self._information += weight * (np.outer(features, features) + ridge * np.eye(3))
        error_s = step_s - features @ self._coefficients
        self._coefficients += np.linalg.solve(self._information, weight * features * error_s)


def non_negative(
    information: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of all points without a negative entry the nearest to `coefficients`, where `information`
    measures squared distances: with some of the three at 0, and the others the best for that."""
    if (coefficients >= 0.0).all():
        return coefficients
    measure: list[list[float]] = information.tolist()
    target: list[float] = (information @ coefficients).tolist()
    best, nearest = [0.0, 0.0, 0.0], 0.0
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        at_i, at_j = _best_of_two(measure, target, i, j)
        # The squared distance, less that of the point 0: at its least it is -(target @ point).
        distance = -(target[i] * at_i + target[j] * at_j)
        if min(at_i, at_j) >= 0.0 and distance < nearest:
            best, nearest = [0.0, 0.0, 0.0], distance
            best[j] = at_j
            best[i] = at_i  # after j: for i alone they are one
    return np.array(best)


def _best_of_two(
    measure: list[list[float]], target: list[float], i: int, j: int
) -> tuple[float, float]:
    """The nearest point with only these two free (Cramer's rule); with `i` alone where `i == j`."""
    if i == j:
        return target[i] / measure[i][i], 0.0
    determinant = measure[i][i] * measure[j][j] - measure[i][j] ** 2
    at_i = (target[i] * measure[j][j] - target[j] * measure[i][j]) / determinant
    at_j = (target[j] * measure[i][i] - target[i] * measure[i][j]) / determinant
    return at_i, at_j


def _check(prefill_tokens: int, decode_requests: int, step_s: float) -> None:
    if prefill_tokens < 0 or decode_requests < 0:
        raise ValueError(
            f"a step of {prefill_tokens} prompt tokens and {decode_requests} requests: "
            "neither can be below 0"
        )
    if not isfinite(step_s) or step_s <= 0.0:
        raise ValueError(f"a step of {step_s} s: it must be finite and above 0")
