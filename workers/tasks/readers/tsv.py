"""Reader of ``.tsv`` files, the format of the UCR archive of 2018.

Every line is a series: its label, then its values, separated by tabs; there is no header. NaN at the end of a line
fills up a series that is shorter than others; elsewhere NaN is a missing value.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.decoding import lines_of
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.number import NotANumber, floats
from workers.tasks.readers.series import Series, without_end
from workers.tasks.readers.text import read_text


def read_tsv(path: Path, file: str) -> Series:
    """Read the series of a file.

    Args:
        path: The file.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is not as described; the message names the line and the column.
    """
    rows = [
        (number, line.split("\t")) for number, line in enumerate(lines_of(read_text(path, file)), 1) if line.strip()
    ]
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
        [np.array([cells[0]]) for _, cells in rows],
        place=lambda i, t, _: f"line {rows[i][0]}, column {t + 2}",
        target_place=lambda i, t, o: f"line {rows[i][0]}, column 1",
    )


def _values(file: str, number: int, cells: list[str]) -> npt.NDArray[np.float64]:
    try:
        return without_end(floats(cells[1:])[:, None])
    except NotANumber as error:
        column = error.index + 1
        expected = f"{error.expected}, or NaN where it is missing"
        raise DataWrong(file, f"line {number}, column {column + 1}", cells[column], expected) from None
