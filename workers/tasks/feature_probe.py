"""How much of the target a single number of each series tells, without any network.

The numbers are readings of one feature, such as its last value. Each is tried on the training series, and the best is
measured on the validation series. A class is predicted in two ways, as that whose mean is nearest and as that of the
nearest training series, and a number by a straight line.

A number that gives the target away is often the target in disguise: a copy of it, an id, a time of recording.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workers.tasks.task import MASKED, Sequences

_Numbers = npt.NDArray[np.float64]
_Classes = npt.NDArray[np.int64]

READINGS = ("last", "first", "mean", "max", "min")
MAX_ROWS = 1_000
"""Series of each set, or steps if every step has a target, that are looked at: of more, so many are drawn."""
MIN_ROWS = 100
MAX_NUMBERS = 4_000_000
"""_Numbers of all rows that are looked at: for more features, fewer rows are drawn, and then features are left out."""
STEPS_OF_SERIES = 10
"""Steps of a series from which it is judged whether any single value tells the class."""
MAX_CANDIDATES = 20
NEAR_PERFECT, NEAR_RARE = 0.01, 0.05
"""A number is said to give the class away if at most this share of the series is told wrong, and at most this share of
those that are not in the most frequent class."""
NEAR_LINE = 0.999
"""Share of the variance (R^2) from which a number is said to give a predicted number away."""
LEAST_FOR_A_LINE = 10
CHANCE = 1e-4
"""Largest probability that one of the numbers tells all classes by chance."""


class Probed(NamedTuple):
    """The number that predicts the target best.

    Attributes:
        feature: The feature that it is read from, from 0; None for the length of the series.
        reading: One of ``READINGS``; ``length``; ``step`` with ``step_number``; or ``value`` if every step has a
            target.
        score: Accuracy on the validation set, or the share of the variance that it explains there (R^2).
        loss: Mean squared error on the validation set; None for classes.
        alone: Whether it gives the target away so plainly that the feature may well be the target in disguise.
        step_number: The step, from 0, if it is always the same.
    """

    feature: int | None
    reading: str
    score: float
    loss: float | None
    alone: bool
    step_number: int | None = None


class _Rows(NamedTuple):
    """_Numbers (n, columns) and targets (n,) or (n, outputs) of the training rows, followed by the validation rows.

    Attributes:
        names: Feature and reading of each column.
        train: How many rows are training rows.
    """

    names: list[tuple[int | None, str]]
    numbers: _Numbers
    targets: npt.NDArray[np.generic]
    train: int

    def found(self, column: int, score: float, loss: float | None = None, *, alone: bool = False) -> Probed:
        """Return what was found out about a column."""
        feature, reading = self.names[column]
        return Probed(feature, reading, score, loss, alone)


def probe(train: Sequences, validation: Sequences, *, every_step: bool, classes: int | None) -> Probed | None:
    """Return the number that predicts the target best; None if there is too little to compare.

    The cost is bounded, whatever the size of the sets.

    Args:
        train: The training set; its inputs are numbers, not tokens.
        validation: The validation set.
        every_step: Whether every step has a target.
        classes: Number of classes; None if numbers are predicted.
    """
    sets = (train, validation)
    rows = _steps(sets, classes) if every_step else _readings(sets)
    if rows.train < 2 or rows.train == len(rows.numbers):
        return None
    if classes is None:
        return _line(rows)
    train_scores, scores = _class_scores(rows, classes)
    if not _by_chance(rows):
        near = np.flatnonzero((train_scores >= _near(rows)) & (scores >= _near(rows)))
        for column in near[:MAX_CANDIDATES].tolist():
            if every_step or _is_plain(rows, column, sets, classes):
                return rows.found(column, float(scores[column]), alone=True)
        if not every_step and (found := _single_step(sets, classes)) is not None:
            return found
    best = int(np.argmax(train_scores))
    return rows.found(best, float(scores[best]))


def _readings(sets: tuple[Sequences, Sequences]) -> _Rows:
    """Return the readings of every feature of the series that are looked at, and their lengths if these differ."""
    _, steps, inputs = sets[0].inputs.shape
    readings = READINGS if steps > 1 else READINGS[:1]
    kept, most = _bounds(inputs * len(readings))
    features = max(1, kept // len(readings))
    parts, lengths, targets = [], [], []
    for one in sets:
        chosen = _drawn(len(one), most)
        ends = _lengths(one)[chosen]
        parts += [_read(one.inputs[i, :end, :features], len(readings)) for i, end in zip(chosen, ends, strict=True)]
        lengths.append(ends)
        targets.append(one.targets[chosen])
    numbers, ends = np.array(parts, np.float64), np.concatenate(lengths)
    names: list[tuple[int | None, str]] = [(feature, reading) for reading in readings for feature in range(features)]
    if (ends != ends[0]).any():
        numbers, names = np.column_stack([numbers, ends]), [*names, (None, "length")]
    return _Rows(names, numbers, np.concatenate(targets), len(lengths[0]))


def _read(values: npt.NDArray[np.generic], readings: int) -> _Numbers:
    """Return the first ``READINGS`` of a series (T, features), one after another for all features."""
    exact = values.astype(np.float64)
    every = (exact[-1], exact[0], exact.mean(axis=0), exact.max(axis=0), exact.min(axis=0))
    return np.concatenate(every[:readings])


def _steps(sets: tuple[Sequences, Sequences], classes: int | None) -> _Rows:
    """Return the features of the steps that are looked at, each with its target."""
    features, most = _bounds(sets[0].inputs.shape[2])
    parts, targets = [], []
    for one in sets:
        flat = one.targets.reshape(one.inputs.shape[0] * one.inputs.shape[1], -1)
        given = np.flatnonzero((flat != MASKED).all(axis=1) if classes else ~np.isnan(flat).any(axis=1))
        chosen = given[_drawn(len(given), most)]
        parts.append(one.inputs.reshape(len(flat), -1)[chosen, :features].astype(np.float64))
        targets.append(flat[chosen, 0] if classes else flat[chosen])
    names: list[tuple[int | None, str]] = [(feature, "value") for feature in range(features)]
    return _Rows(names, np.concatenate(parts), np.concatenate(targets), len(parts[0]))


def _bounds(columns: int) -> tuple[int, int]:
    """Return how many columns, and how many rows of each set, are looked at so that ``MAX_NUMBERS`` suffice."""
    kept = min(columns, MAX_NUMBERS // (2 * MIN_ROWS))
    return kept, max(MIN_ROWS, min(MAX_ROWS, MAX_NUMBERS // (2 * kept)))


def _drawn(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return the places of ``most`` of ``count`` rows, always the same; all of them if there are fewer.

    They are in random order: a file is often sorted by class, and rows with the same number would be told by that.
    """
    return np.random.default_rng(0).permutation(count)[:most]


def _lengths(one: Sequences) -> npt.NDArray[np.int64]:
    return np.full(len(one), one.inputs.shape[1]) if one.lengths is None else one.lengths


def _near(rows: _Rows) -> float:
    """Return the accuracy from which a number gives the class away."""
    counts = np.bincount(rows.targets.astype(np.int64))
    return 1 - min(NEAR_PERFECT, NEAR_RARE * float(1 - counts.max() / counts.sum()))


def _by_chance(rows: _Rows) -> bool:
    """Return whether one of so many columns could tell the classes of so few rows by chance.

    The bound is that over columns and thresholds, for labels that stand in random order.
    """
    counts = np.bincount(rows.targets.astype(np.int64))
    orders = math.lgamma(counts.sum() + 1) - sum(math.lgamma(count + 1) for count in counts)
    return math.log(len(rows.names)) + math.log(counts.sum()) - orders > math.log(CHANCE)


def _class_scores(rows: _Rows, classes: int) -> tuple[_Numbers, _Numbers]:
    """Return the accuracy of each column on the training rows and on the validation rows.

    Of the two predictions that is taken which does better on the training rows. A training row is never its own
    nearest.
    """
    labels = rows.targets.astype(np.int64)
    found = [_nearest_row(rows.numbers, labels, rows.train) == labels[:, None]]
    if classes * rows.numbers.size <= 100 * MAX_NUMBERS:
        found.append(_nearest_mean(rows.numbers, labels, rows.train) == labels[:, None])
    train = np.stack([right[: rows.train].mean(axis=0) for right in found])
    validation = np.stack([right[rows.train :].mean(axis=0) for right in found])
    better = train.argmax(axis=0)[None]
    return np.take_along_axis(train, better, 0)[0], np.take_along_axis(validation, better, 0)[0]


def _nearest_row(numbers: _Numbers, labels: _Classes, train: int) -> _Classes:
    """Return for each row and column the class of another training row, the one with the nearest number."""
    count = len(numbers)
    order = np.argsort(numbers, axis=0, kind="stable")
    values, places = np.take_along_axis(numbers, order, 0), np.arange(count)[:, None]
    before = np.maximum.accumulate(np.where(order < train, places, -1), axis=0)
    after = np.minimum.accumulate(np.where(order < train, places, count)[::-1], axis=0)[::-1]
    edge = np.full((1, numbers.shape[1]), -1)
    left, right = np.vstack([edge, before[:-1]]), np.vstack([after[1:], edge + 1 + count])
    to_left = np.where(left < 0, np.inf, values - np.take_along_axis(values, np.maximum(left, 0), 0))
    to_right = np.where(right == count, np.inf, np.take_along_axis(values, np.minimum(right, count - 1), 0) - values)
    nearest = np.where(to_left <= to_right, np.maximum(left, 0), np.minimum(right, count - 1))
    found = np.empty_like(order)
    np.put_along_axis(found, order, labels[np.take_along_axis(order, nearest, 0)], 0)
    return found


def _nearest_mean(numbers: _Numbers, labels: _Classes, train: int) -> _Classes:
    """Return for each row and column the class whose training rows have the nearest mean."""
    best = np.full(numbers.shape, np.inf)
    found = np.zeros(numbers.shape, np.int64)
    for label in np.unique(labels[:train]):
        distance = np.abs(numbers - numbers[:train][labels[:train] == label].mean(axis=0))
        found = np.where(distance < best, label, found)
        best = np.minimum(distance, best)
    return found


def _is_plain(rows: _Rows, column: int, sets: tuple[Sequences, Sequences], classes: int) -> bool:
    """Return whether a column that tells all classes is likely to be a mistake, and no merit of the feature.

    It is if it is the length of the series, if it has hardly more different values than there are classes, as a copy of
    the target has, or if the value of the feature at any step, looked at by itself, tells the class.
    """
    feature, _ = rows.names[column]
    if feature is None or len(np.unique(rows.numbers[:, column])) <= min(2 * classes, len(rows.numbers) // 3):
        return True
    _, most = _bounds(STEPS_OF_SERIES)
    parts = []
    for one in sets:
        chosen = _drawn(len(one), most)
        steps = np.linspace(0, _lengths(one)[chosen] - 1, STEPS_OF_SERIES).astype(np.int64).T
        parts.append(one.inputs[chosen[:, None], steps, feature].astype(np.float64))
    targets = np.concatenate([one.targets[_drawn(len(one), most)] for one in sets])
    steps_alone = _Rows([rows.names[column]] * STEPS_OF_SERIES, np.concatenate(parts), targets, len(parts[0]))
    return bool(np.min(_class_scores(steps_alone, classes)) >= _near(rows))


def _single_step(sets: tuple[Sequences, Sequences], classes: int) -> Probed | None:
    """Return a step that tells all classes while its neighbours hardly do, in series of one feature and equal length.

    Such a step is no measurement like the others, but a column of a table that is none of the steps.
    """
    steps = sets[0].inputs.shape[1]
    if sets[0].inputs.shape[2] > 1 or steps < 3 or any(one.lengths is not None for one in sets):
        return None
    kept, most = _bounds(steps)
    chosen = [_drawn(len(one), most) for one in sets]
    numbers = np.concatenate([one.inputs[own, :kept, 0] for one, own in zip(sets, chosen, strict=True)])
    targets = np.concatenate([one.targets[own] for one, own in zip(sets, chosen, strict=True)])
    rows = _Rows([(0, "step")] * kept, numbers.astype(np.float64), targets, len(chosen[0]))
    train_scores, scores = _class_scores(rows, classes)
    largest = np.bincount(targets.astype(np.int64)).max() / len(targets)
    hardly = np.pad(train_scores < (1 + largest) / 2, 1, constant_values=True)
    alone = (np.minimum(train_scores, scores) >= _near(rows)) & hardly[:-2] & hardly[2:]
    if _by_chance(rows) or not alone.any():
        return None
    step = int(np.argmax(alone))
    return Probed(0, "step", float(scores[step]), None, alone=True, step_number=step)


def _line(rows: _Rows) -> Probed | None:
    """Return the column whose straight line predicts the numbers best; None if no number differs from the others."""
    targets = rows.targets.astype(np.float64).reshape(len(rows.targets), -1)
    x, y = rows.numbers - rows.numbers[: rows.train].mean(axis=0), targets - targets[: rows.train].mean(axis=0)
    fit, checked = x[: rows.train], x[rows.train :]
    spread, total = (fit**2).sum(axis=0), (y[: rows.train] ** 2).sum(axis=0)
    if not spread.any() or not total.any() or not (y[rows.train :] ** 2).any():
        return None
    products = fit.T @ y[: rows.train]
    slopes = np.divide(products, spread[:, None], out=np.zeros_like(products), where=spread[:, None] > 0)
    explained = np.divide(slopes * products, total, out=np.zeros_like(products), where=total > 0)
    errors = np.stack([((y[rows.train :] - checked[:, [c]] * slopes[c]) ** 2).mean(axis=0) for c in range(x.shape[1])])
    variances = (y[rows.train :] ** 2).mean(axis=0)
    scores = 1 - np.divide(errors, variances, out=np.ones_like(errors), where=variances > 0)
    alone = ((explained >= NEAR_LINE) & (scores >= NEAR_LINE)).any(axis=1) & (rows.train >= LEAST_FOR_A_LINE)
    best = int(np.argmax(alone)) if alone.any() else int(np.argmax(explained.mean(axis=1)))
    score = float(scores[best].max() if alone.any() else 1 - errors[best].sum() / variances.sum())
    return rows.found(best, score, float(errors[best].mean()), alone=bool(alone.any()))
