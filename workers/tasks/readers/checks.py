"""The checks that all formats share: what a reader found against what the task says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Kind, Missing, Series, complete, digest

REGRESSION = 'set the field kind to "regression"'
"""What to do to predict numbers instead of classes."""
SMALL_BYTES = 2**30
"""Series may be filled up to this size whatever their lengths."""
MOST_PADDING = 50
"""Larger sets are filled up to at most this many times their own size."""


def checked(
    series: Series, *, kind: Kind, every_step: bool, missing: Missing = "refuse", otherwise: str = REGRESSION
) -> Series:
    """Return the series without missing values, after a check of their targets against the task.

    Args:
        series: The series as a reader found them.
        kind: Whether the task classifies series or predicts numbers.
        every_step: Whether every step has a target.
        missing: Whether missing values are refused or interpolated.
        otherwise: What to do to predict numbers instead of classes, in words.

    Raises:
        DataWrong: If the file has no targets or other ones than the task says, if a classification has several label
            columns such as one-hot rows, if series differ in their features, if the longest is so much longer
            than the others that filling them up takes immense memory, or if a value is missing, infinite or too large,
            as ``complete`` says.
    """
    _check_targets(series, kind, every_step, otherwise)
    for i, one in enumerate(series.values):
        if one.shape[1] != series.features:
            expected = f"{series.features} features, as in the first series"
            raise DataWrong(series.file, series.place(i, 0, 0), Phrase(f"{one.shape[1]} features"), expected)
    _check_padded_size(series)
    return complete(series, missing)


def _check_targets(series: Series, kind: Kind, every_step: bool, otherwise: str) -> None:
    if series.declared == "regression" and kind == "classification":
        expected = f"labels of classes; or {otherwise}"
        raise DataWrong(series.file, "its targets", Phrase("numbers to predict, as its @targetLabel says"), expected)
    outputs = series.targets[0].shape[-1]
    if kind == "classification" and outputs > 1:
        steps = series.length if every_step else 0
        shape = ", ".join(map(str, (len(series), *([steps] if every_step else []), outputs)))
        expected = (
            f"one label for each {'step' if every_step else 'series'}, such as numpy.argmax(targets, axis=-1) of "
            f"one-hot rows; or, for several numbers, {otherwise}"
        )
        if not every_step and outputs == series.length:
            expected = "one label for each series; or every_step, for one label for each step"
        shown = f"shape ({shape})"
        raise DataWrong(series.file, "targets", Phrase(shown), expected)
    for i, (values, targets) in enumerate(zip(series.values, series.targets, strict=True)):
        if every_step and len(targets) != len(values):
            expected = f"{len(values)} targets, one for each step of series {i + 1}"
            raise DataWrong(series.file, series.target_place(i, 0, 0), Phrase(f"{len(targets)} targets"), expected)


def aligned(first: Series, other: Series) -> Series:
    """Return the series of another file of a task with their features in the order of the first file.

    Raises:
        DataWrong: If the other file has other features: another number of them, or columns of other names. In wide
            tables the columns are steps, and the longer file begins with those of the shorter.
    """
    if other.features != first.features:
        expected = f"{first.features} features, as in {first.file}"
        raise DataWrong(other.file, "its series", Phrase(f"{other.features} features"), expected)
    if first.names is None or other.names is None:
        return other
    wide = [len(series.names or ()) != series.features for series in (first, other)]
    if wide[0] != wide[1]:
        layouts = [
            "wide table, with a series in each row" if one else "long table, with a step in each row" for one in wide
        ]
        found, expected = Phrase(f"a {layouts[1]}"), f"a {layouts[0]}, as {first.file} is"
        raise DataWrong(other.file, "its columns", found, expected)
    if wide[0]:
        common = min(len(first.names), len(other.names))
        _check_names(first, other, first.names[:common] == other.names[:common])
        return other
    _check_names(first, other, set(first.names) == set(other.names))
    places = {name: place for place, name in enumerate(other.names)}
    order = [places[name] for name in first.names]
    return replace(
        other,
        values=[one[:, order] for one in other.values],
        place=lambda i, t, d: other.place(i, t, order[d]),
        names=first.names,
    )


def check_digest(files: Iterable[Series], expected: str | None) -> None:
    """Raise DataWrong if the series are not those of a digest; None stands for any series."""
    files = list(files)
    if expected is not None and digest(files) != expected:
        names = ", ".join(series.file for series in files)
        found = Phrase("other series or targets than when the sweep was submitted")
        raise DataWrong(names, "the data", found, "the same; put the old files back, or submit the sweep again")


def check_extent(series: Series, length: int, features: int, unit: str) -> None:
    """Raise DataWrong if series are longer than ``length`` or have another number of ``features``, called ``unit``."""
    if series.features != features or series.length > length:
        found = Phrase(f"series of up to {series.length} steps of {series.features} {unit}")
        expected = f"at most {length} steps of {features} {unit}, as task.facts says; or correct its entry there"
        raise DataWrong(series.file, "its series", found, expected)


def _check_names(first: Series, other: Series, are_alike: bool) -> None:
    if not are_alike:
        found, names = (", ".join(series.names or ()) for series in (other, first))
        expected = f"{names}, as in {first.file}; or list the columns in the field inputs"
        raise DataWrong(other.file, "its columns of values", Phrase(found), expected)


def _check_padded_size(series: Series) -> None:
    """Raise DataWrong if the series need far more memory when all are as long as the longest, as they are trained."""
    padded = 4 * len(series) * series.length * series.features
    if padded > max(SMALL_BYTES, MOST_PADDING * sum(one.nbytes for one in series.values)):
        found = Phrase(f"{len(series):,} series, one of {series.length:,} steps and most far shorter")
        expected = f"series of like lengths, since all are filled up to the longest: {padded / 2**30:,.0f} GiB"
        raise DataWrong(series.file, "its series", found, expected)
