"""Targets of series: class numbers of labels, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.series import Series
from workers.tasks.task import MASKED


def ordered(labels: Iterable[str]) -> list[str]:
    """Distinct labels in the order of their class numbers: by value where all are numbers, else by text."""
    found = {label for label in labels if label}
    try:
        return sorted(found, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(found)


def texts(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels as text: 3 and 3.0 are the label "3", NaN and -100 are none ("")."""
    if targets.dtype.kind in "US":
        return targets.astype(str)
    if targets.dtype.kind == "O":
        return np.array(["" if label is None or label != label else str(label).strip() for label in targets.ravel()],
                        str).reshape(targets.shape)  # fmt: skip
    missing = np.isnan(targets) if targets.dtype.kind == "f" else targets == MASKED
    if targets.dtype.kind == "f" and (np.mod(targets[~missing], 1) == 0).all():
        targets = np.where(missing, 0, targets).astype(np.int64)
    return np.where(missing, "", targets.astype(str))


def of_all(series: Series) -> npt.NDArray[Any]:
    """Every label of the file as text, flat."""
    return np.concatenate([texts(target).ravel() for target in series.targets])


def class_numbers(series: Series, classes: Sequence[str], *, masked: bool) -> list[npt.NDArray[np.int64]]:
    """For each series its class (1,), or those of its steps (T_i, 1); -100 where there is none, if ``masked``.

    Raises DataWrong for a label that is not one of ``classes``, and for a missing one that may not be.
    """
    number = {label: i for i, label in enumerate(classes)} | ({"": MASKED} if masked else {})
    names, inverse = np.unique(of_all(series), return_inverse=True)
    unseen = [name for name in names.tolist() if name not in number]
    if unseen:
        position = int(np.flatnonzero(np.isin(names, unseen)[inverse])[0])
        found = str(names[inverse[position]]) or "no label"
        raise DataWrong(series.file, _target_place(series, position), found, f"one of {_some(classes)}")
    flat = np.array([number[name] for name in names.tolist()], np.int64)[inverse.ravel()]
    return _split_like(flat, series)


def numbers(series: Series, *, masked: bool) -> list[npt.NDArray[np.float32]]:
    """For each series its targets (O,), or those of its steps (T_i, O); NaN where there is none, if ``masked``.

    Raises DataWrong for what is not a finite number, and for a missing one that may not be.
    """
    flat = np.concatenate([_floats(target.ravel()) for target in series.targets])
    missing = np.concatenate([texts(target).ravel() == "" for target in series.targets])
    wrong = ~(np.abs(flat) <= np.finfo(np.float32).max) & ~(missing & masked)
    if wrong.any():
        position = int(np.argmax(wrong))
        found = np.concatenate([target.ravel() for target in series.targets])[position]
        shown = "no target" if missing[position] else str(found)
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
