"""Targets of the series of a file: the labels of its classes with their numbers, or numbers to predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.label import EXACT_FLOAT, NotALabel, fractional, in_order, label_of, labels_of
from workers.tasks.readers.number import NotANumber, floats, is_missing
from workers.tasks.readers.series import Series
from workers.tasks.task import MASKED

MOST_CLASSES = 100_000


def classes_of(series: Series, otherwise: str) -> list[str]:
    """Return the labels of a file's classes in the order of their numbers: those that it lists, or else has.

    Args:
        series: The series of a file.
        otherwise: What to do to predict numbers instead of classes, in words.

    Raises:
        DataWrong: If a value cannot be a label, if the labels are numbers with fractions, or if the series have fewer
            than two classes.
    """
    labels = all_labels(series)
    place = fractional(labels)
    if place is not None:
        expected = f"whole numbers or names as classes; or, to predict numbers, {otherwise}"
        raise DataWrong(series.file, target_place(series, place), labels[place], expected)
    found = in_order(labels)
    if len(found) < 2:
        what = Phrase(f"the single class {found[0]!r}" if found else "no label")
        raise DataWrong(series.file, "its targets", what, "at least two classes to tell apart")
    if len(found) > MOST_CLASSES:
        raise DataWrong(series.file, "its targets", Phrase(f"{len(found):,} classes"), f"at most {MOST_CLASSES:,}")
    return in_order(labels_of(series.classes)) if series.classes else found


def all_labels(series: Series) -> list[str]:
    """Return all labels of the file in one list; a missing one is "".

    -100, the class that torch's losses ignore, is missing too.

    Raises:
        DataWrong: If a value cannot be a label.
    """
    flat = _flat(series)
    try:
        labels = _labels_of_numbers(flat) if flat.dtype.kind in "iuf" else labels_of(flat.tolist())
        return ["" if label == str(MASKED) else label for label in labels]
    except NotALabel as error:
        place = target_place(series, error.index)
        raise DataWrong(series.file, place, flat.tolist()[error.index], error.expected) from None


def class_numbers(series: Series, classes: Sequence[str], *, masked: bool) -> list[npt.NDArray[np.int64]]:
    """Return the class numbers of every series: (1,), or (T_i, 1) if every step has a label.

    Args:
        series: The series of a file.
        classes: Labels in the order of their numbers.
        masked: Whether labels may be missing; they then get the number -100.

    Raises:
        DataWrong: If a label is not one of ``classes``, or is missing and may not be, or if two of ``classes`` are one
            label in different notations.
    """
    number = {label: i for i, label in enumerate(labels_of(classes))}
    if len(number) < len(classes):
        given = Phrase(_some(classes))
        raise DataWrong(series.file, "its classes in task.facts", given, "each label once, where 1 and 1.0 are one")
    number |= {"": MASKED} if masked else {}
    labels = all_labels(series)
    if not number.keys() >= set(labels):
        position = next(place for place, label in enumerate(labels) if label not in number)
        found: str = labels[position] or Phrase("no label")
        raise DataWrong(series.file, target_place(series, position), found, f"one of {_some(classes)}")
    return _split_like(np.array([number[label] for label in labels], np.int64), series)


def numbers(series: Series, *, masked: bool) -> list[npt.NDArray[np.float32]]:
    """Return the numbers to predict for every series: (O,), or (T_i, O) if every step has targets.

    Args:
        series: The series of a file.
        masked: Whether targets may be missing, and then are NaN. -100 is a number like any other.

    Raises:
        DataWrong: If a target is not a finite number, or is missing and may not be.
    """
    cells = _flat(series)
    try:
        flat = cells.astype(np.float64) if cells.dtype.kind in "iufb" else _floats(cells)
    except NotANumber as error:
        place = target_place(series, error.index)
        raise DataWrong(series.file, place, str(cells[error.index]), error.expected) from None
    missing = np.isnan(flat)
    wrong = ~(np.abs(flat) <= np.finfo(np.float32).max) & ~(missing & masked)
    if wrong.any():
        position = int(np.argmax(wrong))
        shown = Phrase("no target") if missing[position] else str(cells[position])
        raise DataWrong(series.file, target_place(series, position), shown, "a finite number of at most 3.4e38")
    return _split_like(flat.astype(np.float32), series)


def are_given(cells: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which targets have a value, in the same shape."""
    if cells.dtype.kind in "iub":
        return np.ones(cells.shape, bool)
    if cells.dtype.kind == "f":
        return np.asarray(~np.isnan(cells))
    given = [not is_missing(cell) if isinstance(cell, str) else cell is not None for cell in cells.ravel().tolist()]
    return np.array(given, bool).reshape(cells.shape)


def target_place(series: Series, position: int) -> str:
    """Return words for the place of a target in the file, given its place among all targets of the file."""
    for i, target in enumerate(series.targets):
        if position < target.size:
            step, output = divmod(position, target.shape[-1])
            return series.target_place(i, step, output)
        position -= target.size
    raise IndexError(position)


def _flat(series: Series) -> npt.NDArray[Any]:
    return np.concatenate([target.ravel() for target in series.targets])


def _labels_of_numbers(flat: npt.NDArray[Any]) -> list[str]:
    """Return the labels of an array of numbers, whose distinct values alone are looked at."""
    if flat.dtype.kind == "f":
        exact = min(EXACT_FLOAT, 2 ** (np.finfo(flat.dtype).nmant + 1))
        large = np.abs(flat) > exact
        if large.any():
            expected = f"a label up to {exact:,} if it is a {flat.dtype}; larger ones as integers or as text"
            raise NotALabel(expected, int(np.argmax(large)))
    distinct, inverse = np.unique(flat, return_inverse=True)
    labels = np.array([label_of(value) for value in distinct.tolist()], object)
    found: list[str] = labels[inverse].tolist()
    return found


def _floats(cells: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return floats(["" if cell is None else str(cell) for cell in cells.tolist()])


def _split_like(flat: npt.NDArray[Any], series: Series) -> list[npt.NDArray[Any]]:
    cuts = np.cumsum([target.size for target in series.targets])[:-1]
    parts = np.split(flat, cuts)
    return [part.reshape(target.shape) for part, target in zip(parts, series.targets, strict=True)]


def _some(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:20])
    return f"{shown} and {len(classes) - 20} more" if len(classes) > 20 else shown
