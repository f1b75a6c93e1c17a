"""Reader of ``.tsv`` files, the format of the UCR archive of 2018.

Every line is a series: its label, then its values, separated by tabs; there is no header. NaN at the end of a line
fills up a series that is shorter than others; elsewhere NaN is a missing value.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Series


def read_tsv(path: Path, file: str) -> Series:
    """Read the series of a file.

    Args:
        path: The file.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is not as described; the message names the line and the column.
    """
    with path.open(encoding="utf-8", errors="replace") as opened:
        rows = [(number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(opened, 1) if line.strip()]
    if not rows:
        raise DataWrong(file, "line 1", Phrase("no series"), "a label and values, separated by tabs")
    columns = len(rows[0][1])
    for number, cells in rows:
        if len(cells) != columns or columns < 2:
            expected = (
                f"{max(columns, 2)} columns: a label and as many values as in line {rows[0][0]}, separated by tabs"
            )
            raise DataWrong(file, f"line {number}", Phrase(f"{len(cells)} columns"), expected)
    return Series(
        file,
        [_values(file, number, cells) for number, cells in rows],
        [np.array([_label(cells[0])]) for _, cells in rows],
        place=lambda i, t, _: f"line {rows[i][0]}, column {t + 2}",
        target_place=lambda i, t, o: f"line {rows[i][0]}, column 1",
    )


def without_end(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut a series (T, 1) after its last value. One without any value is returned whole, to be refused later."""
    known = np.flatnonzero(~np.isnan(values[:, 0]))
    return values[: known[-1] + 1] if len(known) else values


def _label(cell: str) -> str:
    """Return a label without spaces around it, and a whole number without its ``.0``.

    Some data sets write 1 as 1.0 in one of their files.
    """
    text = cell.strip()
    return text.removesuffix(".0") if text.removesuffix(".0").lstrip("-").isdecimal() else text


def _values(file: str, number: int, cells: list[str]) -> npt.NDArray[np.float64]:
    try:
        return without_end(np.array(cells[1:], dtype=np.float64)[:, None])
    except ValueError:
        for column, cell in enumerate(cells[1:], 2):
            try:
                float(cell)
            except ValueError:
                expected = "a number, or NaN where it is missing"
                raise DataWrong(file, f"line {number}, column {column}", cell, expected) from None
        raise
