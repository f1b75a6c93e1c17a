"""Series from tables, ``.csv`` (UTF-8, with a line of column names) and ``.parquet``, through pandas.

Long: a column names the series that a row belongs to, every row is a step. Wide: every row is a series, its steps stand
in the columns from left to right, and empty cells at the end are steps it does not have.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.labels import texts
from workers.tasks.readers.series import Series
from workers.tasks.readers.tsv import without_end

if TYPE_CHECKING:
    import pandas as pd

SERIES, STEP = "series", "step"
EVEN = 1e-6
"""Steps whose sizes differ by less than this part of one are equal: times are rounded in files."""


@dataclass(frozen=True)
class Columns:
    """Which columns are what. ``series`` and ``step`` None: of these names where the table has them, else none.

    inputs None: every other column. uneven: steps may have different sizes.
    """

    targets: tuple[str, ...] = ("target",)
    inputs: tuple[str, ...] | None = None
    series: str | None = None
    step: str | None = None
    uneven: bool = False
    every_step: bool = False


class Table:
    """A file's cells by column, and the words for where they stand."""

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        self.first = 2 if path.suffix == ".csv" else 1
        self.frame = _csv(path, file) if path.suffix == ".csv" else _parquet(path, file)
        if not len(self.frame) or not len(self.frame.columns):
            raise DataWrong(file, "the table", "no rows", "column names and rows")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> list[str]:
        return list(self.frame.columns)

    def place(self, row: int, column: str) -> str:
        """Rows of a csv file count its line of names as the first."""
        return f"row {row + self.first}, column {column}"

    def cells(self, column: str) -> npt.NDArray[Any]:
        """The column as it is: numbers, or text with None or "" where a cell is empty."""
        found = self.frame[column]
        cells = np.asarray(found.to_numpy())
        if cells.dtype.kind == "O":
            cells = cells.copy()
            cells[found.isna().to_numpy()] = None
        return cells

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """The column's numbers, NaN where a cell is empty. Raises DataWrong for a cell of anything else."""
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


def read_table(path: Path, file: str, columns: Columns) -> Series:
    """The series of a file; ``file`` is its name in messages. Raises DataWrong, naming row and column."""
    table = Table(path, file)
    for wanted in (*columns.targets, *(columns.inputs or ()), columns.series, columns.step):
        if wanted is not None and wanted not in table.names:
            raise DataWrong(file, "its columns", ", ".join(table.names), f"a column named {wanted}")
    name = columns.series or (SERIES if SERIES in table.names else None)
    return _long(table, columns, name) if name is not None else _wide(table, columns)


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
        expected = "a line of column names, and as many cells in every row"
        raise DataWrong(file, "the table", f"({str(error).strip()})", expected) from None
    frame = frame.fillna("").set_axis([str(name).strip() for name in frame.columns], axis=1)
    full = np.flatnonzero((frame != "").any(axis=1).to_numpy())
    return frame.iloc[: full[-1] + 1 if len(full) else 0]


def _parquet(path: Path, file: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataWrong(file, "the file", f"({error})", "a parquet table") from None
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _wide(table: Table, columns: Columns) -> Series:
    if columns.every_step:
        expected = f"a column {SERIES} that says which series a row is of (a target for every step needs a row for it)"
        raise DataWrong(table.file, "its columns", ", ".join(table.names), expected)
    inputs = columns.inputs or tuple(name for name in table.names if name not in columns.targets)
    targets = np.stack([table.cells(name) for name in columns.targets], axis=1)
    values = np.stack([table.numbers(name) for name in inputs], axis=1) if inputs else np.empty((len(table), 0))
    if not inputs:
        raise DataWrong(table.file, "its columns", ", ".join(table.names), "columns of values beside the targets")
    return Series(
        table.file, [without_end(row[:, None]) for row in values], list(targets),
        place=lambda i, t, _: table.place(i, inputs[t]),
        target_place=lambda i, t, output: table.place(i, columns.targets[output]),
    )  # fmt: skip


def _long(table: Table, columns: Columns, name: str) -> Series:
    step = columns.step or (STEP if STEP in table.names and STEP not in columns.targets else None)
    inputs = columns.inputs or tuple(n for n in table.names if n not in (name, step, *columns.targets))
    if not inputs:
        raise DataWrong(table.file, "its columns", ", ".join(table.names), "columns of values beside the others")
    rows = _rows_of(table, name)
    if step is not None:
        _check_steps(table, step, rows, columns.uneven)
    values = np.stack([table.numbers(column) for column in inputs], axis=1)
    targets = np.stack([table.cells(column) for column in columns.targets], axis=1)
    given = rows if columns.every_step else [_row_of_target(table, columns, one, targets) for one in rows]
    return Series(
        table.file, [values[one] for one in rows], [targets[one] for one in given],
        place=lambda i, t, d: table.place(int(rows[i][t]), inputs[d]),
        target_place=lambda i, t, o: table.place(int(np.ravel(given[i])[t]), columns.targets[o]),
    )  # fmt: skip


def _rows_of(table: Table, name: str) -> list[npt.NDArray[np.int64]]:
    """Row numbers of each series, in the order in which series first appear."""
    import pandas as pd

    cells = texts(table.cells(name))
    if (cells == "").any():
        raise DataWrong(table.file, table.place(int(np.argmax(cells == "")), name), "nothing", "the name of a series")
    codes, _ = pd.factorize(cells)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _row_of_target(table: Table, columns: Columns, rows: npt.NDArray[np.int64], targets: npt.NDArray[Any]) -> int:
    """The row that says the target of a series: its last one that says any; all that do must agree."""
    told = texts(targets[rows])
    some = np.flatnonzero((told != "").any(axis=1))
    last = int(some[-1]) if len(some) else len(rows) - 1
    differ = (told != "") & (told != told[last])
    if differ.any():
        row, output = np.argwhere(differ)[0]
        expected = f"{told[last][output]}, as in row {rows[last] + table.first} of the same series"
        place = table.place(int(rows[row]), columns.targets[output])
        raise DataWrong(
            table.file, place, str(told[row][output]), f"{expected}; or set every_step for one target a row"
        )
    return int(rows[last])


def _check_steps(table: Table, column: str, rows: list[npt.NDArray[np.int64]], uneven: bool) -> None:
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
    """Numbers, or dates and times as seconds."""
    import pandas as pd

    cells = table.cells(column)
    times = pd.to_datetime(pd.Series(cells), errors="coerce", format="ISO8601", utc=True) if _is_dated(cells) else None
    if times is None:
        values = table.numbers(column)
    else:
        seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
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
