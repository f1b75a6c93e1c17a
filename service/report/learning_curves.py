"""The objective over the steps: the curves of the best trials, and how the others lie around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.report.record import SweepRecord, TrialRow
from service.report.thinning import thin
from workers.spec.pruning_rules import Curve

SHOWN = 6
"""The best trials whose own curves are shown."""
MAX_OTHERS = 600
"""The most other trials that the bands are made of: evenly spread over the leaderboard."""
POINTS = 200
"""About the most points of a curve."""
BAND_STEPS = 60
"""The most steps at which the others are summarised."""
LEAST_IN_BAND = 3
"""Steps that fewer of the others have reached are left out of the bands."""


@dataclass(frozen=True)
class TrialCurve:
    """The objective of one trial at some of its reports, as (step, value)."""

    number: int
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class CurveBand:
    """How the objectives of the other trials lie at one step: how many have reached it, and their quartiles."""

    step: int
    trials: int
    lower: float
    median: float
    upper: float


@dataclass(frozen=True)
class LearningCurves:
    """Learning curves.

    Attributes:
        best: The curves of the best trials, best first.
        others: The other trials at some steps.
        other_trials: How many trials ``others`` is made of.
        left_out: How many further trials have begun, and were not looked at because there are so many.
        not_finite: How many values of the curves were NaN or infinite and are left out.
    """

    best: list[TrialCurve]
    others: list[CurveBand]
    other_trials: int
    left_out: int
    not_finite: int


def wanted_rows(record: SweepRecord) -> list[TrialRow]:
    """Return the trials whose curves ``learning_curves`` needs, at most ``SHOWN`` + ``MAX_OTHERS``."""
    begun = [row for row in record.ranked if row.step > 0]
    leading, rest = begun[:SHOWN], begun[SHOWN:]
    stride = max(1, math.ceil(len(rest) / MAX_OTHERS))
    return leading + rest[::stride]


def learning_curves(record: SweepRecord, curves: Mapping[int, Curve]) -> LearningCurves:
    """Return the curves of the best trials and a summary of the others.

    Args:
        record: The sweep.
        curves: The objective over the steps, in order of step, for each number of ``wanted_rows``.
    """
    wanted = wanted_rows(record)
    finite = {row.number: [p for p in curves.get(row.number, ()) if math.isfinite(p[1])] for row in wanted}
    dropped = sum(len(curves.get(row.number, ())) for row in wanted) - sum(map(len, finite.values()))
    shown = [row for row in wanted[:SHOWN] if row.has_result and finite[row.number]]
    leaders = {row.number for row in shown}
    others = [finite[row.number] for row in wanted if row.number not in leaders and finite[row.number]]
    begun = sum(row.step > 0 for row in record.rows)
    return LearningCurves(
        best=[TrialCurve(row.number, thin(finite[row.number], POINTS)) for row in shown],
        others=_bands(others),
        other_trials=len(others),
        left_out=begun - len(wanted),
        not_finite=dropped,
    )


def _bands(curves: Sequence[Curve]) -> list[CurveBand]:
    """Return the quartiles of the curves at steps that some of them have; between reports the last value stands."""
    if not curves:
        return []
    steps = thin(sorted({step for curve in curves for step, _ in curve}), BAND_STEPS)
    values = np.full((len(curves), len(steps)), np.nan)
    for place, curve in enumerate(curves):
        own = np.asarray([step for step, _ in curve])
        last = np.searchsorted(own, steps, side="right") - 1
        reached = (last >= 0) & (np.asarray(steps) <= own[-1])
        values[place, reached] = np.asarray([value for _, value in curve])[last[reached]]
    found = []
    for column, step in enumerate(steps):
        present = values[:, column][~np.isnan(values[:, column])]
        if len(present) >= LEAST_IN_BAND:
            # the values themselves, since a mean of two may overflow
            lower, median, upper = np.quantile(present, (0.25, 0.5, 0.75), method="inverted_cdf")
            found.append(CurveBand(step, len(present), float(lower), float(median), float(upper)))
    return found
