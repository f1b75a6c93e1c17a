"""A table from a file, with the names that the file gives its columns and the place of each cell for messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.number import NotANumber, floats

UNNAMED = re.compile(r"Unnamed: [0-9]+([._].*)?|\.\.\.[0-9]+")
"""The names that pandas and R's readr give columns without one, and then write."""
Cells = npt.NDArray[Any]
"""A column: numbers, dates, or an object array of text, bytes, whole numbers and None for an empty cell."""


@dataclass(frozen=True)
class Table:
    """A table of named columns.

    Attributes:
        file: Name of the file in messages.
        names: Names of the columns, as the file gives them; no two are alike.
        first: Number of the first row in messages.
        rows: Number of rows.
        column: Function that returns a column by its place, from 0, and raises DataWrong if it cannot be read.
        short: Place of the first row that has fewer cells than there are names, and the number of its cells; None if
            there is no such row.
    """

    file: str
    names: Sequence[str]
    first: int
    rows: int
    column: Callable[[int], Cells]
    short: tuple[int, int] | None = None
    _read: dict[str, Cells] = field(default_factory=dict, repr=False)
    _places: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the names: none is empty, and no two are alike but for blanks."""
        if not self.rows or not self.names:
            raise DataWrong(self.file, "the table", Phrase("no rows or no columns"), "column names and rows")
        seen: dict[str, str] = {}
        for number, name in enumerate(self.names, 1):
            place, without_blanks = f"the name of column {number}", normalize("NFC", "".join(name.split()))
            if "\n" in name or "\r" in name:
                expected = "a name on one line; look for a quotation mark that ends too late"
                raise DataWrong(self.file, place, name, expected)
            if not name or UNNAMED.fullmatch(name):
                expected = "a name for every column; name it, or leave out one that counts rows (pandas: index=False)"
                raise DataWrong(self.file, place, Phrase("no name"), expected)
            if without_blanks in seen:
                other = seen[without_blanks]
                found = Phrase(f"{name!r} twice" if other == name else f"{name!r} beside {other!r}")
                expected = "names that differ by more than blanks; rename one of the two columns, or leave it out"
                raise DataWrong(self.file, place, found, expected)
            seen[without_blanks] = name
            self._places[name] = number - 1

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def place(self, row: int, column: str) -> str:
        """Return words for a cell, such as ``row 3, column x``. In a csv file, the line of column names is row 1."""
        return f"row {row + self.first}, column {column}"

    def cells(self, column: str) -> Cells:
        """Return a column unchanged, (rows,)."""
        if column not in self._read:
            self._read[column] = self.column(self._places[column])
        return self._read[column]

    def labels(self, column: str) -> Cells:
        """Return a column for labels or targets, (rows,): as it is, but dates as text."""
        cells = self.cells(column)
        return _dates_as_text(cells) if cells.dtype.kind in "mM" else cells

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return the numbers of a column, (rows,), NaN for an empty cell. Raises DataWrong for any other cell."""
        cells = self.cells(column)
        if cells.dtype.kind in "iufb":
            return cells.astype(np.float64)
        if cells.dtype.kind in "mM":
            expected = "numbers; leave the column out with the field inputs, or name it as the field step"
            raise DataWrong(self.file, self.place(0, column), str(cells[0]), expected)
        try:
            return floats(["" if cell is None else str(cell) for cell in cells.tolist()])
        except NotANumber as error:
            place = self.place(error.index, column)
            raise DataWrong(self.file, place, str(cells[error.index]), error.expected) from None


def _dates_as_text(cells: Cells) -> Cells:
    found = cells.astype(str).astype(object)
    found[np.isnat(cells)] = None
    return found
