"""Reader of ``.parquet`` files, whose columns have types. The index of a pandas table becomes columns again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.table import Cells, Table

if TYPE_CHECKING:
    import pyarrow

UNNAMED_INDEX = re.compile(r"__index_level_[0-9]+__")
"""The name that pandas gives the column of an index that has none."""
FEW_CELLS = 10_000_000
"""A table of up to this many cells may be in a file of any size."""
CELLS_PER_BYTE = 25
"""A larger table has at most this many cells for each byte of its file, so that a small file cannot fill the memory."""


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
                raise DataWrong(file, "the table", found, f"at most {CELLS_PER_BYTE} cells for each byte of the file")
            table = opened.read()
        index = _index((table.schema.metadata or {}).get(b"pandas", b'{"index_columns": []}'), table.num_rows, file)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        if isinstance(error, DataWrong):
            raise
        found = Phrase("something else, or a damaged table")
        raise DataWrong(file, "the file", found, "a parquet table, as pandas or pyarrow write it") from None
    return _with_index(table, index, file)


def _index(metadata: bytes, rows: int, file: str) -> list[str | tuple[str, range]]:
    """Return the named levels of the index: the name of the column that holds it, or its name and the rows it counts.

    Args:
        metadata: What pandas writes about a table, as JSON.
        rows: The number of rows of the table.
        file: Name of the file in messages.

    Raises:
        DataWrong: If a level counts another number of rows than the table has, as after joining or cutting tables.
        ValueError: If the metadata are not as pandas writes them.
    """
    try:
        levels = json.loads(metadata)["index_columns"]
        found: list[str | tuple[str, range]] = []
        for level in levels:
            if isinstance(level, str):
                found.append(level)
            elif level["name"] is not None:
                found.append((str(level["name"]), range(level["start"], level["stop"], level["step"])))
        counts = [rows if isinstance(level, str) else len(level[1]) for level in found]
    except (TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError("pandas did not write these metadata") from error
    for count in counts:
        if count != rows:
            expected = f"as many as the table has rows, {rows}; or write the table without its index"
            raise DataWrong(file, "the index of the table", Phrase(f"{count} counted rows"), expected)
    return found


def _with_index(table: pyarrow.Table, index: list[str | tuple[str, range]], file: str) -> Table:
    """Return the table with the levels of its index first, in the order of the index."""
    names = [str(name) for name in table.column_names]
    if any(UNNAMED_INDEX.fullmatch(name) for name in names):
        expected = "names for all levels of the index; or write the table without it (pandas: index=False)"
        raise DataWrong(file, "the index of the table", Phrase("a level without a name"), expected)
    stored = [level for level in index if isinstance(level, str) and level in names]
    counted = [level for level in index if not isinstance(level, str)]
    order = [names.index(level) for level in stored]
    order += sorted(set(range(len(names))) - set(order))

    def column(place: int) -> Cells:
        if place < len(counted):
            return np.array(counted[place][1])
        return _cells(table.column(order[place - len(counted)]), file, names[order[place - len(counted)]])

    listed = [*(name for name, _ in counted), *(names[place] for place in order)]
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
    if types.is_time32(kind):
        column, kind = column.cast(pyarrow.time64("us")), pyarrow.time64("us")
    if types.is_time(kind):
        return _cells(column.cast(pyarrow.int64()).cast(pyarrow.duration(kind.unit)), file, name)
    has_no_gap = types.is_integer(kind) or types.is_boolean(kind)
    try:
        if types.is_floating(kind) or types.is_temporal(kind) or (has_no_gap and not column.null_count):
            return np.asarray(column.to_numpy(zero_copy_only=False))
        cells = np.empty(len(column), object)
        cells[:] = column.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError):
        expected = "cells that Python can hold; write the column as numbers or text"
        raise DataWrong(file, f"column {name}", Phrase(f"cells of the type {kind}"), expected) from None
    return cells
