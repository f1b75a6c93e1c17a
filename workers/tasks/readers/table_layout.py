"""Reader of series from tables, ``.csv`` (UTF-8, with a line of column names) and ``.parquet``.

A table has one of two layouts. Long: every row is a step, and a column names the series that it belongs to. Wide: every
row is a series of one feature, whose steps are the columns from left to right; empty cells at its end are no steps. A
table is long if it has a column that names the series (``Columns.series``), and else wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.labels import texts
from workers.tasks.readers.series import Series
from workers.tasks.readers.steps import check_steps
from workers.tasks.readers.table import Table
from workers.tasks.readers.tsv import without_end

SERIES, STEP = "series", "step"


@dataclass(frozen=True)
class Columns:
    """The meaning of a table's columns.

    Attributes:
        targets: Columns of the targets.
        inputs: Columns that the net reads; None for all others.
        series: Column that names the series of a row; None for the column ``series`` if the table has one.
        step: Column of steps or times; None for the column ``step`` if the table has one. Of a long table only.
        uneven: Whether the distances between steps may differ. Of a long table only.
        every_step: Whether every step has a target.
    """

    targets: tuple[str, ...] = ("target",)
    inputs: tuple[str, ...] | None = None
    series: str | None = None
    step: str | None = None
    uneven: bool = False
    every_step: bool = False


def read_table(path: Path, file: str, columns: Columns) -> Series:
    """Read the series of a file.

    Args:
        path: The file.
        file: Name of the file in messages.
        columns: Meaning of its columns.

    Raises:
        DataWrong: If the file is not as described; the message names the row and the column.
    """
    table = Table(path, file)
    for wanted in (*columns.targets, *(columns.inputs or ()), columns.series, columns.step):
        if wanted is not None and wanted not in table.names:
            raise DataWrong(file, "its columns", Phrase(", ".join(table.names)), f"a column named {wanted}")
    name = columns.series or (SERIES if SERIES in table.names else None)
    return _long(table, columns, name) if name is not None else _wide(table, columns)


def _wide(table: Table, columns: Columns) -> Series:
    if columns.every_step:
        expected = f"a column {SERIES} that names the series of a row, since every_step needs a row for every step"
        raise DataWrong(table.file, "its columns", Phrase(", ".join(table.names)), expected)
    inputs = columns.inputs or tuple(name for name in table.names if name not in columns.targets)
    targets = np.stack([table.cells(name) for name in columns.targets], axis=1)
    values = np.stack([table.numbers(name) for name in inputs], axis=1) if inputs else np.empty((len(table), 0))
    if not inputs:
        raise DataWrong(
            table.file, "its columns", Phrase(", ".join(table.names)), "columns of values besides the targets"
        )
    return Series(
        table.file,
        [without_end(row[:, None]) for row in values],
        list(targets),
        place=lambda i, t, _: table.place(i, inputs[t]),
        target_place=lambda i, t, output: table.place(i, columns.targets[output]),
    )


def _long(table: Table, columns: Columns, name: str) -> Series:
    step = columns.step or (STEP if STEP in table.names and STEP not in columns.targets else None)
    inputs = columns.inputs or tuple(n for n in table.names if n not in (name, step, *columns.targets))
    if not inputs:
        raise DataWrong(
            table.file,
            "its columns",
            Phrase(", ".join(table.names)),
            "columns of values besides the series, the step and the targets",
        )
    rows = _rows_of(table, name)
    if step is not None:
        check_steps(table, step, rows, columns.uneven)
    values = np.stack([table.numbers(column) for column in inputs], axis=1)
    targets = np.stack([table.cells(column) for column in columns.targets], axis=1)
    given = rows if columns.every_step else [_row_of_target(table, columns, one, targets) for one in rows]
    return Series(
        table.file,
        [values[one] for one in rows],
        [targets[one] for one in given],
        place=lambda i, t, d: table.place(int(rows[i][t]), inputs[d]),
        target_place=lambda i, t, o: table.place(int(np.ravel(given[i])[t]), columns.targets[o]),
    )


def _rows_of(table: Table, name: str) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of each series, in the order in which the series first appear."""
    import pandas as pd

    cells = texts(table.cells(name))
    if (cells == "").any():
        raise DataWrong(
            table.file, table.place(int(np.argmax(cells == "")), name), Phrase("nothing"), "the name of a series"
        )
    codes, _ = pd.factorize(cells)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _row_of_target(table: Table, columns: Columns, rows: npt.NDArray[np.int64], targets: npt.NDArray[Any]) -> int:
    """Return the row with the target of a series: the last that has one, or the last of all if none has.

    Raises:
        DataWrong: If two rows of the series have different targets.
    """
    found = texts(targets[rows])
    some = np.flatnonzero((found != "").any(axis=1))
    last = int(some[-1]) if len(some) else len(rows) - 1
    differ = (found != "") & (found != found[last])
    if differ.any():
        row, output = np.argwhere(differ)[0]
        expected = f"{found[last][output]}, as in row {rows[last] + table.first} of the same series"
        place = table.place(int(rows[row]), columns.targets[output])
        hint = "or set every_step for one target per row"
        raise DataWrong(table.file, place, str(found[row][output]), f"{expected}; {hint}")
    return int(rows[last])
