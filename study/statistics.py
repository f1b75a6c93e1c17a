"""The statistics of the study's sentences: intervals, tests, ranks, and a logistic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Z95 = 1.959964
"""Half the width of a 95 % interval of a normal distribution, in standard deviations."""
RIDGE = 1e-3
"""L2 penalty on the slopes of a logistic regression, which keeps a fit to separable data finite."""
MOST_STEPS = 100
"""Most Newton steps of a logistic regression."""

Numbers = npt.NDArray[np.floating[Any]]


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share after Wilson (1927), or (0, 1) if ``count`` is 0."""
    if count == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def fisher_greater(a: int, of_a: int, b: int, of_b: int) -> float:
    """Return the one-sided p-value of Fisher's exact test.

    It is small if a successes in ``of_a`` trials are a greater share than b successes in ``of_b`` trials.
    """
    return float(stats.fisher_exact([[a, of_a - a], [b, of_b - b]], alternative="greater").pvalue)


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, in the order of the values: 1 for the largest; equal ones share a mean rank."""
    return [float(rank) for rank in stats.rankdata([-value for value in values])]


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation, or 0 for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Fit:
    """The result of a logistic regression.

    Attributes:
        coefficients: The intercept, then the slopes.
        covariance: Covariance matrix of the coefficients.
        log_likelihood: Log likelihood of the outcomes, without the penalty.
    """

    coefficients: Numbers
    covariance: Numbers
    log_likelihood: float


def logistic(columns: Sequence[Sequence[float]], outcomes: Sequence[bool]) -> Fit:
    """Fit log(p / (1 - p)), p the probability of success, as an intercept plus a slope for each of ``columns``.

    Newton's method is used, with a small penalty on the slopes, and ends after ``MOST_STEPS`` steps at the latest.

    scipy has no logistic regression, and scikit-learn's returns no covariance.

    Args:
        columns: Explanatory variables, each with one value per outcome.
        outcomes: Whether each trial succeeded.
    """
    y = np.asarray(outcomes, dtype=np.float64)
    x = np.column_stack([np.ones(len(y)), *(np.asarray(column, dtype=np.float64) for column in columns)])
    penalty = np.diag([0.0, *[RIDGE] * len(columns)]) + 1e-9 * np.eye(x.shape[1])
    w = np.zeros(x.shape[1])
    for _ in range(MOST_STEPS):
        p = _sigmoid(x @ w)
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + penalty
        step = np.linalg.solve(hessian, x.T @ (y - p) - penalty @ w)
        # A full step can overshoot where the data are nearly separable, so its size is limited.
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
    """Return a ratio of two coefficients and its standard error by the delta method.

    Args:
        fit: The regression.
        numerator: Index of the coefficient above the line; 0 is the intercept.
        denominator: Index of the coefficient below the line.
    """
    a, b = float(fit.coefficients[numerator]), float(fit.coefficients[denominator])
    gradient = np.zeros(len(fit.coefficients))
    gradient[numerator], gradient[denominator] = 1 / b, -a / b**2
    return a / b, math.sqrt(max(0.0, float(gradient @ fit.covariance @ gradient)))
