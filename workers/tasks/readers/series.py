"""Series as they are in a file, each with its own length, and their preparation for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase

Missing = Literal["refuse", "interpolate"]
Kind = Literal["classification", "regression"]
"""Whether targets are labels of classes, or numbers to predict."""
PlaceWords = Callable[[int, int, int], str]
"""Function that names the place of a number in the file, given its series, step and feature, each from 0."""


@dataclass(frozen=True)
class Series:
    """The N series of one file.

    Attributes:
        file: Name of the file in messages.
        values: One float64 array (T_i, features) for each series; NaN is a missing value.
        targets: One array for each series, (outputs,), or (T_i, outputs) if every step has targets. They are text or
            numbers; "" or NaN is a missing target.
        place: Function that names the place of a value in the file.
        target_place: Function that names the place of a target in the file.
        classes: Labels that the file lists; None if it lists none.
        declared: Whether the file says that its targets are labels or numbers; None if it says neither. Labels may be
            numbers to predict all the same: sktime writes them so.
        names: Names of the columns of a table that the values come from, one for each feature, or for each step of a
            wide table; None for other formats.
    """

    file: str
    values: list[npt.NDArray[np.float64]]
    targets: list[npt.NDArray[Any]]
    place: PlaceWords
    target_place: PlaceWords
    classes: list[str] | None = None
    declared: Kind | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def length(self) -> int:
        """Steps of the longest series."""
        return max(map(len, self.values))

    @property
    def features(self) -> int:
        """Values per step."""
        return int(self.values[0].shape[1])


def digest(files: Iterable[Series]) -> str:
    """Return a digest of the values and targets of all series of some files, 32 hexadecimal digits.

    It depends on what was read, not on how the files write it, such as blanks, line ends or compression.
    """
    found = hashlib.blake2b(digest_size=16)
    for series in files:
        for values, targets in zip(series.values, series.targets, strict=True):
            for part in (str(values.shape).encode(), np.ascontiguousarray(values).tobytes()):
                found.update(part)
            found.update("\x1f".join(map(str, targets.ravel().tolist())).encode())
    return found.hexdigest()


def complete(series: Series, missing: Missing) -> Series:
    """Return the series without missing values.

    Args:
        series: The series of a file.
        missing: ``refuse`` raises an error for a missing value. ``interpolate`` fills it, feature by feature: linearly
            between its neighbours, and with the nearest value at either end of a series.

    Raises:
        DataWrong: If a value is infinite or too large for float32, or if it is missing and ``missing`` is ``refuse`` or
            its feature has no value in the whole series.
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
            hint = '; or set the task\'s field missing to "interpolate"'
            hint = " here or at another step, to interpolate from" if missing == "interpolate" else hint
            raise DataWrong(series.file, place, Phrase("no value"), f"a number{hint}")
    steps = np.arange(len(one))
    for feature in np.flatnonzero(gaps.any(axis=0)):
        known = ~gaps[:, feature]
        one[:, feature] = np.interp(steps, steps[known], one[known, feature])
    return one


def without_end(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut a series (T, features) after its last step that has a value: what follows only fills it up.

    A series without any value is returned whole, to be refused later.
    """
    known = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: known[-1] + 1] if len(known) else values


def standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale each feature of a series (T, features) to mean 0 and standard deviation 1, and a constant one to 0."""
    deviation = values.std(axis=0)
    scaled: npt.NDArray[np.float64] = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return scaled


def padded(
    values: list[npt.NDArray[np.float64]], length: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """Stack series to one array, with zeros after the end of the shorter ones.

    Returns:
        The inputs (N, length, features), and the lengths (N,), or None if all series have ``length`` steps.
    """
    inputs = np.zeros((len(values), length, values[0].shape[1]), np.float32)
    for row, one in zip(inputs, values, strict=True):
        row[: len(one)] = one
    lengths = np.array([len(one) for one in values], np.int64)
    return inputs, None if (lengths == length).all() else lengths
