"""Check of the steps or times of a table's rows: in order, and at equal distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.table import Table

EVEN = 1e-6
"""Relative difference up to which two distances count as equal, since times are rounded in files."""


def check_steps(table: Table, column: str, rows: list[npt.NDArray[np.int64]], uneven: bool) -> None:
    """Check that the steps of each series increase, at equal distances unless ``uneven``.

    Args:
        table: The table.
        column: Name of its column of steps: numbers, or dates and times in ISO 8601.
        rows: Row numbers of each series, (T_i,), in the order of the file.
        uneven: Whether the distances may differ.

    Raises:
        DataWrong: If a step is not greater than the one before it in its series, if distances differ and ``uneven`` is
            false, or if a cell is neither a number nor a date; the message names the row.
    """
    times = _times(table, column)
    for one in rows:
        sizes = np.diff(times[one])
        unsorted = ~(sizes > 0)
        if unsorted.any():
            at = int(np.argmax(unsorted)) + 1
            found, before = (str(table.cells(column)[one[i]]) for i in (at, at - 1))
            expected = f"a step after {before}, which row {one[at - 1] + table.first} of the same series has"
            raise DataWrong(table.file, table.place(int(one[at]), column), found, expected)
        odd = np.zeros(0, bool) if uneven or not len(sizes) else np.abs(sizes - sizes[0]) > EVEN * sizes[0]
        if odd.any():
            at = int(np.argmax(odd)) + 1
            expected = (
                f"steps of {sizes[0]:g}, as between the first two rows of the series; or set the field uneven to true"
            )
            raise DataWrong(
                table.file, table.place(int(one[at]), column), Phrase(f"a step of {sizes[at - 1]:g}"), expected
            )


def _times(table: Table, column: str) -> npt.NDArray[np.float64]:
    """Return the steps as numbers; dates and times become seconds after the first."""
    import pandas as pd

    cells = table.cells(column)
    times = pd.to_datetime(pd.Series(cells), errors="coerce", format="ISO8601", utc=True) if _is_dated(cells) else None
    if times is None:
        values = table.numbers(column)
    else:
        seconds = (times - times.iloc[0]).dt.total_seconds()
        values = np.asarray(seconds.to_numpy(), np.float64)
    missing = ~np.isfinite(values)
    if missing.any():
        row = int(np.argmax(missing))
        found = str(cells[row]) or Phrase("nothing")
        raise DataWrong(table.file, table.place(row, column), found, "a number, or a date and time in ISO 8601")
    return values


def _is_dated(cells: npt.NDArray[Any]) -> bool:
    """Return whether a column starts with something else than a number; all of it is then read as dates."""
    if cells.dtype.kind == "M":
        return True
    try:
        float(cells[0])
    except (TypeError, ValueError):
        return bool(str(cells[0]).strip())
    return False
