"""Checks of the columns that a task does not list: names, times and numbers of rows must not become values.

If the field ``inputs`` is omitted, all other columns are values. A table that has further ones, as tables of other
programs do, would then be read without an error as something that nobody means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.table import Table

TIMES = re.compile(
    r"(?:step|time|timestamp|timepoint|date|datetime|ds|reading_id)s?(?:_(?:s|ms|us|ns|sec|seconds|min|minutes|h|utc))?"
)
"""Names of columns of steps or times, in lower case and with ``_`` for other characters than letters and digits."""
COUNTERS = re.compile(r"index|level_[0-9]+|rownames?|row_(?:nr|number|id)|rownum|row")
"""Names of columns that number rows."""
NAMES = re.compile(r"(?:id|case|instance|subject|patient|series|unique|dim|sample)s?(?:_id)?")
"""Names of columns that say which series a row belongs to."""
USUAL = frozenset({"target", "series", "step"})
"""Names that columns have by default in a task."""
NUMBERED = re.compile(r"(\D*)(\d{1,9})", re.ASCII)
"""A name that ends in a number, and the number."""
LISTED = "list the columns of values in the field inputs"
MANY_ROWS = 10
"""From this many rows on, columns are compared with the numbers of the rows."""
MANY_COLUMNS = 50
"""The most columns whose content is looked at."""


def check_unlisted_of_long(table: Table, inputs: Sequence[str]) -> None:
    """Raise DataWrong if a column of values of a long table is one of times, or numbers its rows."""
    for name in inputs:
        plain = _plain(name)
        if TIMES.fullmatch(plain) or plain == "t":
            expected = f'"step": "{name}", so that the order of the rows is checked; or {LISTED}'
            raise DataWrong(table.file, f"column {name}", Phrase("times among the values"), expected)
    _check_row_numbers(table, inputs)


def check_unlisted_of_wide(table: Table, inputs: Sequence[str]) -> None:
    """Raise DataWrong if a table without a column of series looks like a long one, or numbers its rows."""
    long = "the fields series and step, for a table with a row for each step"
    for name in inputs:
        plain = _plain(name)
        if TIMES.fullmatch(plain) or NAMES.fullmatch(plain):
            expected = f"{long}; or, if each row is a series, {LISTED}"
            raise DataWrong(table.file, f"column {name}", Phrase("the name of a series or a time"), expected)
    if len(inputs) == 1:
        expected = f"{long}; or, for series of a single step, this column in the field inputs"
        raise DataWrong(table.file, "its columns", Phrase(f"a single column of values, {inputs[0]}"), expected)
    _check_order_of_steps(table, inputs)
    pair = _series_and_step([table.numbers(name) for name in inputs[:MANY_COLUMNS]])
    if pair is not None:
        series, step = (inputs[place] for place in pair)
        expected = f'"series": "{series}" and "step": "{step}"; or, if each row is a series, {LISTED}'
        found = Phrase(f"rows that {series} gathers to series, in which {step} increases")
        raise DataWrong(table.file, "its columns", found, expected)
    _check_row_numbers(table, inputs)


def check_usual_names(table: Table, inputs: Sequence[str]) -> None:
    """Raise DataWrong if a column with the usual name of targets, series or steps is left among the values."""
    left = [name for name in inputs if name in USUAL]
    if left:
        expected = f"another part for this column, beside those that the task names; or leave it out, or {LISTED}"
        raise DataWrong(table.file, f"column {left[0]}", Phrase("this name among the values"), expected)


def _check_order_of_steps(table: Table, inputs: Sequence[str]) -> None:
    """Raise DataWrong if columns that are numbered, such as t0, t1, t2, do not stand in the order of their numbers."""
    found = [NUMBERED.fullmatch(name) for name in inputs]
    if len({match and match[1] for match in found}) != 1 or found[0] is None:
        return
    numbers = [int(match[2]) for match in found if match]
    for place, (one, following) in enumerate(pairwise(numbers), 1):
        if following <= one:
            expected = f"columns in the order of their numbers, as these are the steps of a series; or {LISTED}"
            raise DataWrong(table.file, "its columns", Phrase(f"{inputs[place]} after {inputs[place - 1]}"), expected)


def _check_row_numbers(table: Table, inputs: Sequence[str]) -> None:
    for name in inputs[:MANY_COLUMNS]:
        if COUNTERS.fullmatch(_plain(name)) or _are_row_numbers(table.numbers(name)):
            expected = f"values; leave the column out, or {LISTED}"
            raise DataWrong(table.file, f"column {name}", Phrase("the numbers of the rows"), expected)


def _plain(name: str) -> str:
    """Return a name in lower case, without what follows in brackets, and with ``_`` for blanks and signs."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"\s*[(\[].*", "", name.lower())).strip("_")


def _are_row_numbers(cells: npt.NDArray[np.float64]) -> bool:
    """Return whether numbers are those of rows, in any order and with some left out: whole, different, close by."""
    count = len(cells)
    if count < MANY_ROWS or not _are_whole(cells) or len(np.unique(cells)) < count:
        return False
    span = cells.max() - cells.min() + 1
    return bool(span <= 1.25 * count or (count >= 3 * MANY_ROWS and span <= 2 * count))


def _are_whole(cells: npt.NDArray[np.float64]) -> bool:
    return bool(np.isfinite(cells).all() and (cells == np.floor(cells)).all())


def _series_and_step(columns: Sequence[npt.NDArray[np.float64]]) -> tuple[int, int] | None:
    """Return the places of two columns, one of which has runs of a number, the other increasing steps in each run."""
    for series, names in enumerate(columns):
        starts = np.flatnonzero(np.diff(names) != 0)
        runs = len(starts) + 1
        if runs < 2 or len(names) < max(2 * runs, MANY_ROWS) or not _are_whole(names) or len(np.unique(names)) < runs:
            continue
        inside = np.ones(len(names) - 1, bool)
        inside[starts] = False
        for step, times in enumerate(columns):
            sizes = np.diff(times)
            if step != series and (sizes[inside] > 0).all() and (sizes[~inside] <= 0).all():
                return series, step
    return None
