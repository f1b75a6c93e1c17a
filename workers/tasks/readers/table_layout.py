"""Series from tables, ``.csv`` (UTF-8, with a line of column names) and ``.parquet``, through pandas.

Long: a column names the series that a row belongs to, every row is a step. Wide: every row is a series, its steps stand
in the columns from left to right, and empty cells at the end are steps it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.labels import texts
from workers.tasks.readers.series import Series
from workers.tasks.readers.steps import check_steps
from workers.tasks.readers.table import Table
from workers.tasks.readers.tsv import without_end

SERIES, STEP = "series", "step"


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


def read_table(path: Path, file: str, columns: Columns) -> Series:
    """The series of a file; ``file`` is its name in messages. Raises DataWrong, naming row and column."""
    table = Table(path, file)
    for wanted in (*columns.targets, *(columns.inputs or ()), columns.series, columns.step):
        if wanted is not None and wanted not in table.names:
            raise DataWrong(file, "its columns", ", ".join(table.names), f"a column named {wanted}")
    name = columns.series or (SERIES if SERIES in table.names else None)
    return _long(table, columns, name) if name is not None else _wide(table, columns)


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
        check_steps(table, step, rows, columns.uneven)
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
