"""The steps or times of a table's rows: in order, and at equal distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.table import Table

EVEN = 1e-6
"""Steps whose sizes differ by less than this part of one are equal: times are rounded in files."""


def check_steps(table: Table, column: str, rows: list[npt.NDArray[np.int64]], uneven: bool) -> None:
    """Steps of a series follow each other in the file, at equal distances unless ``uneven``."""
    times = _times(table, column)
    for one in rows:
        sizes = np.diff(times[one])
        unsorted = ~(sizes > 0)
        if unsorted.any():
            at = int(np.argmax(unsorted)) + 1
            found, before = (str(table.cells(column)[one[i]]) for i in (at, at - 1))
            expected = f"a step after {before}, that of row {one[at - 1] + table.first} of the same series"
            raise DataWrong(table.file, table.place(int(one[at]), column), found, expected)
        odd = np.zeros(0, bool) if uneven or not len(sizes) else np.abs(sizes - sizes[0]) > EVEN * sizes[0]
        if odd.any():
            at = int(np.argmax(odd)) + 1
            expected = f"steps of equal size, {sizes[0]:g} as between the first two of the series; or set uneven"
            raise DataWrong(table.file, table.place(int(one[at]), column), f"a step of {sizes[at - 1]:g}", expected)


def _times(table: Table, column: str) -> npt.NDArray[np.float64]:
    """Numbers, or dates and times as seconds after the first."""
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
        found = str(cells[row]) or "nothing"
        raise DataWrong(table.file, table.place(row, column), found, "a number, or a date and time in ISO 8601")
    return values


def _is_dated(cells: npt.NDArray[Any]) -> bool:
    """Whether a column starts with what is no number: then all of it is read as dates."""
    if cells.dtype.kind == "M":
        return True
    try:
        float(cells[0])
    except (TypeError, ValueError):
        return bool(str(cells[0]).strip())
    return False
