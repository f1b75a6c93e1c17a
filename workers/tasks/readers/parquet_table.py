"""Reader of ``.parquet`` files, whose columns have types. The index of a pandas table becomes columns again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.table import Cells, Table

if TYPE_CHECKING:
    import pyarrow

UNNAMED_INDEX = re.compile(r"__index_level_[0-9]+__")
"""The name that pandas gives the column of an index that has none."""
FEW_CELLS = 10_000_000
"""A table of up to this many cells may be in a file of any size."""
CELLS_PER_BYTE = 1_000
"""A larger table has at most this many cells for each byte of its file; repeated values take hardly any room."""


def read_parquet(path: Path, file: str) -> Table:
    """Read a table. Rows are counted from 1. The named levels of an index that pandas wrote are its first columns.

    Args:
        path: The file.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is no parquet table, if its index has no name, or if it has far more cells than bytes.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as opened:
            rows, columns = opened.metadata.num_rows, opened.metadata.num_columns
            if rows * columns > max(FEW_CELLS, CELLS_PER_BYTE * path.stat().st_size):
                found = Phrase(f"{rows:,} rows and {columns:,} columns in {path.stat().st_size:,} bytes")
                raise DataWrong(file, "the table", found, "less than a thousand cells for each byte of the file")
            table = opened.read()
        index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    except (pyarrow.ArrowException, OSError, ValueError, AttributeError, MemoryError) as error:
        if isinstance(error, DataWrong):
            raise
        found = Phrase("something else, or a damaged table")
        raise DataWrong(file, "the file", found, "a parquet table, as pandas or pyarrow write it") from None
    return _with_index(table, index, file)


def _with_index(table: pyarrow.Table, index: list[Any], file: str) -> Table:
    """Return the table with the levels of its index first, in the order of the index."""
    names = [str(name) for name in table.column_names]
    if any(UNNAMED_INDEX.fullmatch(name) for name in names):
        expected = "names for all levels of the index; or write the table without it (pandas: index=False)"
        raise DataWrong(file, "the index of the table", Phrase("a level without a name"), expected)
    stored = [level for level in index if isinstance(level, str) and level in names]
    counted = [level for level in index if isinstance(level, dict) and level.get("name") is not None]
    order = [names.index(level) for level in stored]
    order += [place for place in range(len(names)) if place not in order]

    def column(place: int) -> Cells:
        if place < len(counted):
            level = counted[place]
            return np.arange(level["start"], level["stop"], level["step"])
        return _cells(table.column(order[place - len(counted)]), file, names[order[place - len(counted)]])

    listed = [*(str(level["name"]) for level in counted), *(names[place] for place in order)]
    return Table(file, [name.strip() for name in listed], 1, table.num_rows, column)


def _cells(column: pyarrow.ChunkedArray, file: str, name: str) -> Cells:
    """Return a column as numpy has it: numbers, dates, or objects with None for NULL."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _cells(column.cast(kind.value_type), file, name)
    if types.is_nested(kind) or isinstance(kind, pyarrow.BaseExtensionType):
        expected = "a column of numbers, text or dates; or leave it out with the fields inputs and targets"
        raise DataWrong(file, f"column {name}", Phrase(f"cells of the type {kind}"), expected)
    has_no_gap = types.is_integer(kind) or types.is_boolean(kind)
    if types.is_floating(kind) or types.is_temporal(kind) or (has_no_gap and not column.null_count):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    cells = np.empty(len(column), object)
    cells[:] = column.to_pylist()
    return cells
