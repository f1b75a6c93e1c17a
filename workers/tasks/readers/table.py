"""A table from a file, ``.csv`` (UTF-8, with a line of column names) or ``.parquet``, read with pandas."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Reads a table from a file, and names the place of each cell in messages.

    Raises:
        DataWrong: If the file is not a table, or has no rows or no columns.
    """

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        self.first = 2 if path.suffix == ".csv" else 1
        self.frame = _csv(path, file) if path.suffix == ".csv" else _parquet(path, file)
        if not len(self.frame) or not len(self.frame.columns):
            raise DataWrong(file, "the table", Phrase("no rows or no columns"), "column names and rows")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    def place(self, row: int, column: str) -> str:
        """Return words for a cell, such as ``row 3, column x``. In a csv file, the line of column names is row 1."""
        return f"row {row + self.first}, column {column}"

    def cells(self, column: str) -> npt.NDArray[Any]:
        """Return a column unchanged: numbers, or text with None or "" for an empty cell."""
        found = self.frame[column]
        cells = np.asarray(found.to_numpy())
        if cells.dtype.kind == "O":
            cells = cells.copy()
            cells[found.isna().to_numpy()] = None
        return cells

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return the numbers of a column, NaN for an empty cell. Raises DataWrong for any other cell."""
        cells = self.cells(column)
        if cells.dtype.kind in "iufb":
            return cells.astype(np.float64)
        if cells.dtype.kind == "M":
            raise DataWrong(self.file, self.place(0, column), str(cells[0]), "a number")
        return np.array([self._number(row, column, cell) for row, cell in enumerate(cells.tolist())], np.float64)

    def _number(self, row: int, column: str, cell: Any) -> float:
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return float("nan")
        try:
            return float(cell)
        except (TypeError, ValueError):
            raise DataWrong(self.file, self.place(row, column), str(cell), "a number") from None


def _csv(path: Path, file: str) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False, encoding="utf-8-sig"
            )
    except UnicodeDecodeError as error:
        raise DataWrong(file, f"byte {error.start:,}", error.object[error.start : error.end], "UTF-8 text") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        expected = "a line of column names, and the same number of cells in every row"
        raise DataWrong(file, "the table", Phrase(f"({str(error).strip()})"), expected) from None
    frame = frame.fillna("").set_axis([str(name).strip() for name in frame.columns], axis=1)
    full = np.flatnonzero((frame != "").any(axis=1).to_numpy())
    return frame.iloc[: full[-1] + 1 if len(full) else 0]


def _parquet(path: Path, file: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataWrong(file, "the file", Phrase(f"({error})"), "a parquet table") from None
    return frame.set_axis([str(name) for name in frame.columns], axis=1)
