"""Series as a file holds them, each of its own length, and what is done to them before they are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong

Missing = Literal["refuse", "interpolate"]
PlaceWords = Callable[[int, int, int], str]
"""Words for where in the file a number stands, from the series, the step and the feature, each from 0."""


@dataclass(frozen=True)
class Series:
    """N series of one file.

    values: float64 (T_i, features) each, NaN where one is missing. targets: for each series (outputs,), or
    (T_i, outputs) where every step has its own; text or numbers, "" or NaN where one is missing.
    classes: the labels that the file itself lists, if it does.
    """

    file: str
    values: list[npt.NDArray[np.float64]]
    targets: list[npt.NDArray[Any]]
    place: PlaceWords
    target_place: PlaceWords
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def length(self) -> int:
        """Steps of the longest one."""
        return max(map(len, self.values))

    @property
    def features(self) -> int:
        return int(self.values[0].shape[1])


def complete(series: Series, missing: Missing) -> Series:
    """The series without a gap. Raises DataWrong for an infinite value, and for a missing one where it is refused.

    interpolate: linear between a gap's neighbours, and their value at an end, feature by feature.
    """
    values = []
    for i, one in enumerate(series.values):
        gaps = ~(np.abs(one) <= np.finfo(np.float32).max)
        if gaps.any():
            one = _without_gaps(series, i, gaps, missing)
        values.append(one)
    return replace(series, values=values)


def _without_gaps(series: Series, i: int, gaps: npt.NDArray[np.bool_], missing: Missing) -> npt.NDArray[np.float64]:
    one = series.values[i].copy()
    for t, feature in np.argwhere(gaps):
        place = series.place(i, int(t), int(feature))
        if not np.isnan(one[t, feature]):
            raise DataWrong(series.file, place, float(one[t, feature]), "a finite number of at most 3.4e38")
        if missing == "refuse" or gaps[:, feature].all():
            hint = "" if missing == "interpolate" else '; or set the task\'s field missing to "interpolate"'
            raise DataWrong(series.file, place, "no value", f"a number{hint}")
    steps = np.arange(len(one))
    for feature in np.flatnonzero(gaps.any(axis=0)):
        there = ~gaps[:, feature]
        one[:, feature] = np.interp(steps, steps[there], one[there, feature])
    return one


def standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One series (T, features), each feature shifted and scaled to mean 0 and deviation 1; a constant one to 0."""
    deviation = values.std(axis=0)
    scaled: npt.NDArray[np.float64] = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return scaled


def padded(
    values: list[npt.NDArray[np.float64]], length: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """Inputs (N, length, features) with zeros behind shorter series, and the lengths (N,), None where all are full."""
    inputs = np.zeros((len(values), length, values[0].shape[1]), np.float32)
    for row, one in zip(inputs, values, strict=True):
        row[: len(one)] = one
    lengths = np.array([len(one) for one in values], np.int64)
    return inputs, None if (lengths == length).all() else lengths
