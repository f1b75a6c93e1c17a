"""The few statistics that the study's sentences stand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Z95 = 1.959964
RIDGE = 1e-3
"""Of the slopes: keeps a fit finite where the data are separated."""
MOST_STEPS = 100


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) of nothing."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = successes / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher_greater(a: int, of_a: int, b: int, of_b: int) -> float:
    """P value that the first share, a of ``of_a``, is not greater than the second (Fisher's exact test, one-sided)."""
    successes, total = a + b, of_a + of_b
    ways = math.comb(total, successes)
    most = min(of_a, successes)
    return sum(math.comb(of_a, k) * math.comb(of_b, successes - k) for k in range(a, most + 1)) / ways


Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Fit:
    """Logistic regression: ``coefficients`` with the intercept first, their covariance, the log likelihood."""

    coefficients: Numbers
    covariance: Numbers
    log_likelihood: float


def logistic(columns: Sequence[Sequence[float]], outcomes: Sequence[bool]) -> Fit:
    """Success on ``columns``, by Newton's method, slopes held back a little (``RIDGE``)."""
    y = np.asarray(outcomes, dtype=np.float64)
    x = np.column_stack([np.ones(len(y)), *(np.asarray(column, dtype=np.float64) for column in columns)])
    penalty = np.diag([0.0, *[RIDGE] * len(columns)]) + 1e-9 * np.eye(x.shape[1])
    w = np.zeros(x.shape[1])
    for _ in range(MOST_STEPS):
        p = _sigmoid(x @ w)
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + penalty
        step = np.linalg.solve(hessian, x.T @ (y - p) - penalty @ w)
        w += step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-9:
            break
    p = np.clip(_sigmoid(x @ w), 1e-12, 1 - 1e-12)
    hessian = x.T @ (x * (p * (1 - p))[:, None]) + penalty
    likelihood = float(np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)))
    return Fit(w, np.linalg.inv(hessian), likelihood)


def _sigmoid(z: Numbers) -> Numbers:
    return 0.5 * (1 + np.tanh(z / 2))


def ratio_with_error(fit: Fit, numerator: int, denominator: int) -> tuple[float, float]:
    """A ratio of two coefficients and its standard error by the delta method."""
    a, b = float(fit.coefficients[numerator]), float(fit.coefficients[denominator])
    gradient = np.zeros(len(fit.coefficients))
    gradient[numerator], gradient[denominator] = 1 / b, -a / b**2
    return a / b, math.sqrt(max(0.0, float(gradient @ fit.covariance @ gradient)))


def ranks(values: Sequence[float]) -> list[float]:
    """Of each value, 1 for the largest; equal ones share the mean of their ranks."""
    return [1 + sum(other > value for other in values) + (values.count(value) - 1) / 2 for value in values]


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation, 0 of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
