"""The statistics agree with published examples, with other programs, and with their own limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from study.statistics import deviation, fisher_greater, logistic, ranks, ratio_with_error, wilson


def test_wilson() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 10)[0] == pytest.approx(0.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_fisher() -> None:
    assert fisher_greater(3, 4, 1, 4) == pytest.approx(17 / 70)  # the lady tasting tea, 3 of 4 right
    assert fisher_greater(0, 5, 5, 5) == pytest.approx(1.0)


def test_a_logistic_fit_is_that_of_another_program() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = rng.random(400) < 1 / (1 + np.exp(-(0.5 - 2 * x[:, 0] + x[:, 1])))
    fit = logistic([list(x[:, 0]), list(x[:, 1])], list(y))
    other = LogisticRegression(C=1e3, tol=1e-10, max_iter=1000).fit(x, y)
    assert fit.coefficients == pytest.approx([*other.intercept_, *other.coef_[0]], abs=1e-4)
    p = other.predict_proba(x)[:, 1]
    assert fit.log_likelihood == pytest.approx(np.log(np.where(y, p, 1 - p)).sum(), abs=1e-4)
    ratio, error = ratio_with_error(fit, 2, 1)
    assert abs(ratio + 0.5) < 3 * error < 0.5


def test_separated_data_have_a_finite_fit() -> None:
    fit = logistic([[-2.0, -1.0, 1.0, 2.0]], [True, True, False, False])
    assert all(math.isfinite(value) for value in fit.coefficients)
    assert fit.coefficients[1] < -2


def test_ranks() -> None:
    assert ranks([0.9, 0.7, 0.9, 0.8]) == [1.5, 4.0, 1.5, 3.0]


def test_deviation() -> None:
    assert deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert deviation([1.0]) == 0.0
