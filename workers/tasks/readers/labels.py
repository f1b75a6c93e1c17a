"""Targets of series: labels with their class numbers, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Series
from workers.tasks.task import MASKED


def ordered(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels in the order of their class numbers: by value if all are numbers, else as text.

    The empty label, which stands for a missing one, is left out.
    """
    found = {label for label in labels if label}
    try:
        return sorted(found, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(found)


def texts(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels as text, in the same shape, and a missing label as "".

    Floats that are all whole are written as integers: 3.0 becomes "3", but beside a 2.5 it stays "3.0". Missing are NaN
    in an array of floats, -100 in one of integers, and None or NaN in one of objects.
    """
    if targets.dtype.kind in "US":
        return targets.astype(str)
    if targets.dtype.kind == "O":
        words = ["" if label is None or label != label else str(label).strip() for label in targets.ravel()]
        return np.array(words, str).reshape(targets.shape)
    missing = np.isnan(targets) if targets.dtype.kind == "f" else targets == MASKED
    if targets.dtype.kind == "f" and (np.mod(targets[~missing], 1) == 0).all():
        targets = np.where(missing, 0, targets).astype(np.int64)
    return np.where(missing, "", targets.astype(str))


def of_all(series: Series) -> npt.NDArray[Any]:
    """Return all labels of the file as text, in one dimension."""
    return np.concatenate([texts(target).ravel() for target in series.targets])


def class_numbers(series: Series, classes: Sequence[str], *, masked: bool) -> list[npt.NDArray[np.int64]]:
    """Return the class numbers of every series: (1,), or (T_i, 1) if every step has a label.

    Args:
        series: The series of a file.
        classes: Labels in the order of their numbers.
        masked: Whether labels may be missing; they then get the number -100.

    Raises:
        DataWrong: If a label is not one of ``classes``, or is missing and may not be.
    """
    number = {label: i for i, label in enumerate(classes)} | ({"": MASKED} if masked else {})
    names, inverse = np.unique(of_all(series), return_inverse=True)
    unseen = [name for name in names.tolist() if name not in number]
    if unseen:
        position = int(np.flatnonzero(np.isin(names, unseen)[inverse])[0])
        found = str(names[inverse[position]]) or Phrase("no label")
        raise DataWrong(series.file, _target_place(series, position), found, f"one of {_some(classes)}")
    flat = np.array([number[name] for name in names.tolist()], np.int64)[inverse.ravel()]
    return _split_like(flat, series)


def numbers(series: Series, *, masked: bool) -> list[npt.NDArray[np.float32]]:
    """Return the numbers to predict for every series: (O,), or (T_i, O) if every step has targets.

    Args:
        series: The series of a file.
        masked: Whether targets may be missing, and then are NaN. In an array of integers -100 stays a number.

    Raises:
        DataWrong: If a target is not a finite number, or is missing and may not be.
    """
    flat = np.concatenate([_floats(target.ravel()) for target in series.targets])
    missing = np.concatenate([texts(target).ravel() == "" for target in series.targets])
    wrong = ~(np.abs(flat) <= np.finfo(np.float32).max) & ~(missing & masked)
    if wrong.any():
        position = int(np.argmax(wrong))
        found = np.concatenate([target.ravel() for target in series.targets])[position]
        shown = Phrase("no target") if missing[position] else str(found)
        raise DataWrong(series.file, _target_place(series, position), shown, "a finite number")
    return _split_like(flat.astype(np.float32), series)


def _floats(cells: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if cells.dtype.kind in "iufb":
        return cells.astype(np.float64)
    return np.array([_float(cell) for cell in cells.tolist()], np.float64)


def _float(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _split_like(flat: npt.NDArray[Any], series: Series) -> list[npt.NDArray[Any]]:
    cuts = np.cumsum([target.size for target in series.targets])[:-1]
    parts = np.split(flat, cuts)
    return [part.reshape(target.shape) for part, target in zip(parts, series.targets, strict=True)]


def _target_place(series: Series, position: int) -> str:
    for i, target in enumerate(series.targets):
        if position < target.size:
            step, output = divmod(position, target.shape[-1])
            return series.target_place(i, step, output)
        position -= target.size
    raise IndexError(position)


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:20])
    return f"{shown} and {len(classes) - 20} more" if len(classes) > 20 else shown
