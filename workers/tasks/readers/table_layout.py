"""Reader of series from tables, ``.csv`` (with a line of column names) and ``.parquet``.

A table has one of two layouts. Long: every row is a step, and a column names the series that it belongs to. Wide: every
row is a series of one feature, whose steps are the columns from left to right; empty cells at its end are no steps. A
table is long if it has a column that names the series (``Columns.series``), and else wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.csv_table import read_csv
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.label import NotALabel, labels_of
from workers.tasks.readers.parquet_table import read_parquet
from workers.tasks.readers.series import Series, without_end
from workers.tasks.readers.steps import check_steps
from workers.tasks.readers.table import Cells, Table
from workers.tasks.readers.targets import are_given
from workers.tasks.readers.unlisted import check_unlisted_of_long, check_unlisted_of_wide, check_usual_names

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
    table = read_csv(path, file) if path.suffix == ".csv" else read_parquet(path, file)
    for wanted in (*columns.targets, *(columns.inputs or ()), columns.series, columns.step):
        if wanted is not None and wanted not in table:
            near = [name for name in table.names if _letters(name) == _letters(wanted)]
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataWrong(file, "its columns", Phrase(_listed(table.names)), f"a column named {wanted}{hint}")
    _check_spelling(table, columns)
    name = columns.series or (SERIES if SERIES in table else None)
    return _long(table, columns, name) if name is not None else _wide(table, columns)


def _check_spelling(table: Table, columns: Columns) -> None:
    """Raise DataWrong if a column is called series or step but for its case or signs, and would be taken for values."""
    named = {*columns.targets, *(columns.inputs or ()), columns.series, columns.step}
    for usual, given in ((SERIES, columns.series), (STEP, columns.step)):
        near = [name for name in table.names if _letters(name) == usual and name not in named]
        if given is None and near and usual not in table:
            expected = f'the name {usual}, or "{usual}": "{near[0]}" in the task'
            raise DataWrong(table.file, "its columns", Phrase(f"a column named {near[0]!r}"), expected)


def _letters(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _wide(table: Table, columns: Columns) -> Series:
    if columns.every_step:
        expected = f"a column {SERIES} that names the series of a row, since every_step needs a row for every step"
        raise DataWrong(table.file, "its columns", Phrase(_listed(table.names)), expected)
    inputs = columns.inputs or tuple(name for name in table.names if name not in columns.targets)
    if columns.step is not None:
        expected = f"a column that names the series of each row too, {SERIES} or the one that the field series names"
        found = Phrase(f"a column of steps, {columns.step}, but none of series")
        raise DataWrong(table.file, "its columns", found, expected)
    _check_roles(table, columns, inputs, "the targets")
    if columns.inputs is None:
        check_unlisted_of_wide(table, inputs)
        check_usual_names(table, inputs)
    targets = np.stack([table.labels(name) for name in columns.targets], axis=1)
    values = np.stack([table.numbers(name) for name in inputs], axis=1)
    return Series(
        table.file,
        [without_end(row[:, None]) for row in values],
        list(targets),
        place=lambda i, t, _: table.place(i, inputs[t]),
        target_place=lambda i, t, output: table.place(i, columns.targets[output]),
        names=tuple(inputs),
    )


def _long(table: Table, columns: Columns, name: str) -> Series:
    if table.short is not None:
        row, count = table.short
        expected = f"{len(table.names)}, one for each column name"
        raise DataWrong(table.file, f"row {row + table.first}", Phrase(f"{count} cell{'s' * (count != 1)}"), expected)
    step = columns.step or (STEP if STEP in table and STEP not in columns.targets else None)
    inputs = columns.inputs or tuple(n for n in table.names if n not in (name, step, *columns.targets))
    if name in (*columns.targets, *inputs):
        expected = "a column of its own that names the series"
        raise DataWrong(table.file, "its columns", Phrase(f"{name} as series and as target or input"), expected)
    _check_roles(table, columns, inputs, "the series, the step and the targets")
    rows = _rows_of(table, name)
    if step is not None:
        check_steps(table, step, rows, columns.uneven)
    else:
        _check_order(table, name, rows)
    if columns.inputs is None:
        check_usual_names(table, inputs)
        check_unlisted_of_long(table, inputs)
    values = np.stack([table.numbers(column) for column in inputs], axis=1)
    targets = np.stack([table.labels(column) for column in columns.targets], axis=1)
    has_target = are_given(targets)
    given = (
        rows if columns.every_step else [_row_of_target(table, columns, one, targets, has_target[one]) for one in rows]
    )
    return Series(
        table.file,
        [values[one] for one in rows],
        [targets[one] for one in given],
        place=lambda i, t, d: table.place(int(rows[i][t]), inputs[d]),
        target_place=lambda i, t, o: table.place(int(np.ravel(given[i])[t]), columns.targets[o]),
        names=tuple(inputs),
    )


def _check_roles(table: Table, columns: Columns, inputs: Sequence[str], others: str) -> None:
    """Raise DataWrong if the net would read nothing, or what it has to predict."""
    if not inputs:
        expected = f"columns of values besides {others}"
        raise DataWrong(table.file, "its columns", Phrase(_listed(table.names)), expected)
    both = [name for name in inputs if name in columns.targets]
    if both:
        expected = "other columns in the field inputs than in the field targets"
        raise DataWrong(table.file, "its columns", Phrase(f"{both[0]} as an input and as a target"), expected)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def _rows_of(table: Table, name: str) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of each series, in the order in which the series first appear."""
    cells = table.labels(name).tolist()
    try:
        names = labels_of(cells)
    except NotALabel as error:
        raise DataWrong(table.file, table.place(error.index, name), cells[error.index], error.expected) from None
    if "" in names:
        raise DataWrong(table.file, table.place(names.index(""), name), Phrase("nothing"), "the name of a series")
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(one, len(numbers)) for one in names], np.int64)
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _check_order(table: Table, name: str, rows: list[npt.NDArray[np.int64]]) -> None:
    """Raise DataWrong if the rows of a series are apart, in a table without a column of steps.

    They may alternate with those of others step by step, so that all first rows come before all second ones.
    """
    count = np.empty(len(table), np.int64)
    for one in rows:
        count[one] = np.arange(len(one))
    if (np.diff(count) >= 0).all():
        return
    for one in rows:
        apart = np.flatnonzero(np.diff(one) != 1)
        if len(apart):
            row = int(one[apart[0] + 1])
            expected = "the rows of a series together, or a column of steps; or give each series a name of its own"
            raise DataWrong(table.file, table.place(row, name), str(table.cells(name)[row]), expected)


def _row_of_target(
    table: Table, columns: Columns, rows: npt.NDArray[np.int64], targets: Cells, given: npt.NDArray[np.bool_]
) -> int:
    """Return the row with the target of a series: the last that has one, or the last of all if none has.

    Args:
        table: The table.
        columns: The meaning of its columns.
        rows: Row numbers of the series, (T,).
        targets: Targets of all rows, (rows, outputs).
        given: Which targets of the series have a value, (T, outputs).

    Raises:
        DataWrong: If two rows of the series have different targets.
    """
    some = np.flatnonzero(given.any(axis=1))
    last = int(some[-1]) if len(some) else len(rows) - 1
    for output, column in enumerate(columns.targets):
        cells = targets[rows[given[:, output]], output].tolist()
        if len(set(cells)) < 2:
            continue
        labels = _in_one_notation(cells)
        if len(set(labels)) < 2:
            continue
        row = int(rows[given[:, output]][next(i for i, label in enumerate(labels) if label != labels[-1])])
        expected = f"{cells[-1]}, as in row {rows[given[:, output]][-1] + table.first} of the same series"
        hint = "or set every_step for one target per row"
        raise DataWrong(table.file, table.place(row, column), str(targets[row, output]), f"{expected}; {hint}")
    return int(rows[last])


def _in_one_notation(cells: Sequence[Any]) -> list[str]:
    """Return targets as labels, so that 1 and 1.0 are the same target."""
    try:
        return labels_of(cells)
    except NotALabel:
        return [repr(cell) for cell in cells]
