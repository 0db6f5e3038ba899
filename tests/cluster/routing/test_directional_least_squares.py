"""Forgetting in one direction: against its definition in matrices, and what it must never lose."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routing.directional_least_squares import DirectionalLeastSquares

HALF_LIFE = 70.0
KEEP = 0.5 ** (1 / HALF_LIFE)

features = st.tuples(st.just(1.0), st.floats(0, 8), st.floats(0, 8))
measurements = st.tuples(features, st.floats(0.1, 10), st.sampled_from([0.01, 1.0, 30.0]))


def fitted(steps: list[tuple], variance: float = 100.0) -> DirectionalLeastSquares:
    fit = DirectionalLeastSquares(HALF_LIFE)
    fit.doubt(variance)
    for step in steps:
        fit.learn(*step)
    return fit


def eigenvalues(fit: DirectionalLeastSquares) -> np.ndarray:
    return np.linalg.eigvalsh(np.array(fit.information()))


@settings(deadline=None)
@given(st.lists(measurements, max_size=12))
def test_it_is_the_definition_in_information_form(steps):
    """R gets back what this sum's information fades by, and its weight; the error is solved for."""
    information, coefficients = np.eye(3) / 100.0, np.zeros(3)
    for x, measured, weight in steps:
        x = np.array(x)
        known = 1.0 / (x @ np.linalg.solve(information, x))
        information += (weight - (1 - KEEP) * known) * np.outer(x, x)
        error = measured - x @ coefficients
        coefficients += np.linalg.solve(information, weight * x * error)
    fit = fitted(steps)
    assert np.allclose(fit.information(), information, rtol=1e-6, atol=1e-9)
    assert np.allclose(fit.coefficients, coefficients, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(st.lists(measurements, max_size=5), measurements, st.integers(1, 400))
def test_equal_measurements_at_once_are_as_many_in_turn(before, step, times):
    at_once, in_turn = fitted(before), fitted([*before, *[step] * times])
    at_once.learn(*step, times)
    assert np.allclose(at_once.coefficients, in_turn.coefficients, rtol=1e-7, atol=1e-9)
    assert np.allclose(at_once.information(), in_turn.information(), rtol=1e-7, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(measurements, st.sampled_from([1, 7, 100_000])), max_size=40))
def test_whatever_is_measured_it_stays_positive_definite_and_finite(runs):
    fit = fitted([(*step, times) for step, times in runs])
    measure = np.array(fit.information())
    assert (measure == measure.T).all()
    assert np.isfinite(measure).all()
    assert np.isfinite(fit.coefficients).all()
    assert (eigenvalues(fit) > 0.0).all()


def test_what_other_sizes_told_survives_a_hundred_thousand_alike_steps():
    """The very thing that fading by step forgets."""
    true, rng = np.array([0.5, 0.2, 0.3]), random.Random(1)
    fit = fitted([])
    for _ in range(400):
        x = (1.0, rng.uniform(0, 2), rng.uniform(0, 4))
        fit.learn(x, float(true @ x), 1.0)
    for _ in range(100_000):
        x = (1.0, 0.0, 4.0)
        fit.learn(x, float(true @ x) * rng.uniform(0.8, 1.2), 1.0)
    assert fit.coefficients == pytest.approx(true, rel=0.05)


def test_it_knows_no_sum_so_well_that_it_would_not_follow():
    """However long it has measured, about half of a change is learnt in one half-life."""
    rng = random.Random(2)
    fit = fitted([((1.0, rng.random(), rng.random()), 1.0, 1.0) for _ in range(20_000)])
    x = (1.0, 0.5, 0.5)
    fit.learn(x, 2.0, 1.0, round(HALF_LIFE))
    assert np.dot(fit.coefficients, x) >= 1.45


@settings(deadline=None)
@given(st.lists(measurements, min_size=1, max_size=8), st.tuples(*[st.floats(-2, 2)] * 3))
def test_the_nearest_point_without_negatives_is_nearer_than_any_on_a_grid(steps, shift):
    fit = fitted(steps)
    # Each coefficient moved by as much as it is uncertain, so that some are negative.
    fit.coefficients = tuple(np.add(fit.coefficients, shift).tolist())
    measure, target = np.array(fit.information()), np.array(fit.coefficients)

    def distance(point: np.ndarray) -> float:
        return float((point - target) @ measure @ (point - target))

    found = np.array(fit.nearest_non_negative())
    assert (found >= 0.0).all()
    grid = np.stack(np.meshgrid(*[np.linspace(0, 2, 9)] * 3), axis=-1).reshape(-1, 3)
    least = min(map(distance, grid))
    assert distance(found) <= least + 1e-7 * max(1.0, float(target @ measure @ target))
