"""Least squares of three coefficients, step by step, that forget only what is told again.

Exponential forgetting fades all that is known with each new measurement: where measurements are
alike, it forgets what others told, and their noise then decides what they cannot tell (estimator
windup). Here a measurement of `features @ coefficients` replaces knowledge of this one sum alone.
With P the coefficients' covariance, and r = features @ P @ features the variance of that sum:

    1/r' = KEEP / r + weight                                          the sum is known again
    P'   = P + (P features) (P features)^T (r' - r) / r^2             and the rest as far as before
    coefficients' = coefficients + (P features) / r * weight r' error

which is the directional forgetting of Kulhavy and Karny (IFAC World Congress 1984; Kulhavy,
Automatica 23(5), 1987). In information form it takes a multiple of features features^T from
R = 1/P. Cao and Schwartz (Automatica 36(11), 2000) take R features (R features)^T / r instead; but
n equal measurements then have no closed form, and here they do:

    1/r' = KEEP^n / r + weight (1 - KEEP^n) / (1 - KEEP),    error' = error * KEEP^n r' / r

P is kept as U D U^T, U unit upper triangular, D diagonal, and updated by Bierman's recursion
(Factorization Methods for Discrete Sequential Estimation, 1977, V.3), in which D stays positive
whatever is rounded: neither P nor the fit can degenerate. Plain floats: at this size numpy takes
several times as long.
"""

from __future__ import annotations

Triple = tuple[float, float, float]


class DirectionalLeastSquares:
    """`half_life`: measurements of one kind after which an earlier one of this kind counts half.

    All coefficients are 0 at first, and `doubt` says how far from it they may be.
    """

    __slots__ = ("_d", "_keep", "_u01", "_u02", "_u12", "coefficients")

    def __init__(self, half_life: float) -> None:
        self.coefficients: Triple = (0.0, 0.0, 0.0)
        self._keep = 0.5 ** (1.0 / half_life)
        self.doubt(1.0)

    def doubt(self, variance: float) -> None:
        """Nothing is known but the coefficients, each with this variance. Weights are in units of
        1 over it."""
        self._d: Triple = (variance, variance, variance)
        self._u01 = self._u02 = self._u12 = 0.0

    def learn(self, features: Triple, measured: float, weight: float, times: int = 1) -> None:
        """`measured` was `features @ coefficients`, so many times in a row; all arguments above 0,
        but for single features."""
        x0, x1, x2 = features
        d0, d1, d2 = self._d
        f1 = self._u01 * x0 + x1
        f2 = self._u02 * x0 + self._u12 * x1 + x2
        before = d0 * x0 * x0 + d1 * f1 * f1 + d2 * f2 * f2
        kept = self._keep if times == 1 else self._keep**times
        fresh = weight if times == 1 else weight * (1.0 - kept) / (1.0 - self._keep)
        after = 1.0 / (kept / before + fresh)
        p0, p1, p2 = self._update((x0, f1, f2), before, after)
        c0, c1, c2 = self.coefficients
        error = measured - (x0 * c0 + x1 * c1 + x2 * c2)
        gain = error * (1.0 - kept * after / before) / before
        self.coefficients = (c0 + p0 * gain, c1 + p1 * gain, c2 + p2 * gain)

    def _update(self, f: Triple, before: float, after: float) -> Triple:
        """The sum's variance goes from `before` to `after`; `f` is U^T features. P features, from
        before."""
        f0, f1, f2 = f
        d0, d1, d2 = self._d
        u01, u02, u12 = self._u01, self._u02, self._u12
        v0, v1, v2 = d0 * f0, d1 * f1, d2 * f2
        if before != after:
            # Bierman's variance of the measurement; below 0 where more is forgotten than learnt.
            # Then it is further from 0 than `before`, and no partial sum of that changes its sign.
            a = before * after / (before - after)
            a0 = a + f0 * v0
            a1 = a0 + f1 * v1
            a2 = a1 + f2 * v2
            self._d = (d0 * (a / a0), d1 * (a0 / a1), d2 * (a1 / a2))
            self._u01 = u01 - v0 * f1 / a0
            self._u02 = u02 - (v0 + u01 * v1) * f2 / a1
            self._u12 = u12 - v1 * f2 / a1
        return v0 + u01 * v1 + u02 * v2, v1 + u12 * v2, v2

    def information(self) -> tuple[Triple, Triple, Triple]:
        """1/P: rows of the matrix that measures squared distances from `coefficients`."""
        d0, d1, d2 = self._d
        w01, w02, w12 = self._inverse()
        r01 = w01 / d0
        r02 = w02 / d0
        r12 = w01 * w02 / d0 + w12 / d1
        r11 = w01 * w01 / d0 + 1.0 / d1
        r22 = w02 * w02 / d0 + w12 * w12 / d1 + 1.0 / d2
        return (1.0 / d0, r01, r02), (r01, r11, r12), (r02, r12, r22)

    def nearest_non_negative(self) -> Triple:
        """Of all coefficients none of which is below 0, the nearest in that measure: with some of
        the three at 0, and the others the best for that.

        A distance squared is that of 1/U times the difference, over D, and least squares on the
        columns of 1/U keep twice the digits that solving with 1/P would.
        """
        c = self.coefficients
        if c[0] >= 0.0 and c[1] >= 0.0 and c[2] >= 0.0:
            return c
        w01, w02, w12 = self._inverse()
        columns: tuple[Triple, ...] = ((1.0, 0.0, 0.0), (w01, 1.0, 0.0), (w02, w12, 1.0))
        target = self._unmixed(c)
        nearest: Triple = (0.0, 0.0, 0.0)
        least = self._dot(target, target)
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
            at_i, at_j = self._best_of_two(columns[i], columns[j], target)
            if at_i >= 0.0 and at_j >= 0.0:
                point = [0.0, 0.0, 0.0]
                point[j] = at_j
                point[i] = at_i  # after j: for i alone they are one
                distance = self._distance((point[0], point[1], point[2]))
                if distance < least:
                    nearest, least = (point[0], point[1], point[2]), distance
        return nearest

    def _distance(self, point: Triple) -> float:
        """Squared, from `coefficients`."""
        c0, c1, c2 = self.coefficients
        apart = self._unmixed((point[0] - c0, point[1] - c1, point[2] - c2))
        return self._dot(apart, apart)

    def _unmixed(self, e: Triple) -> Triple:
        """1/U times `e`."""
        e0, e1, e2 = e
        z1 = e1 - self._u12 * e2
        return e0 - self._u01 * z1 - self._u02 * e2, z1, e2

    def _inverse(self) -> Triple:
        """1/U above its diagonal: 01, 02 and 12."""
        return -self._u01, self._u01 * self._u12 - self._u02, -self._u12

    def _best_of_two(self, a: Triple, b: Triple, target: Triple) -> tuple[float, float]:
        """The multiples of `a` and `b` that add up nearest to `target` (Gram-Schmidt); of `a`
        alone where they are one."""
        norm = self._dot(a, a)
        at_a = self._dot(a, target) / norm
        if a is b:
            return at_a, 0.0
        shared = self._dot(a, b) / norm
        rest = (b[0] - shared * a[0], b[1] - shared * a[1], b[2] - shared * a[2])
        norm = self._dot(rest, rest)
        if norm <= 0.0:  # by rounding: the two cannot be told apart, and one alone is as good
            return -1.0, -1.0
        left = (target[0] - at_a * a[0], target[1] - at_a * a[1], target[2] - at_a * a[2])
        at_b = self._dot(rest, left) / norm
        return at_a - shared * at_b, at_b

    def _dot(self, a: Triple, b: Triple) -> float:
        d0, d1, d2 = self._d
        return a[0] * b[0] / d0 + a[1] * b[1] / d1 + a[2] * b[2] / d2
