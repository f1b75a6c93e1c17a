"""Reader of ``.csv`` files: cells between commas, and a first row of column names. All cells are text."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.number import NUMBER
from workers.tasks.readers.table import Cells, Table
from workers.tasks.readers.text import read_text

csv.field_size_limit(1_000_000)  # the most characters of a cell; the limit holds for the whole process
MAX_COLUMNS = 100_000
"""The most columns of a table; a task cannot name more."""
FEW_CELLS = 10_000_000
"""A table of up to this many cells may have any number of short rows."""
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
COMMAS = "cells between commas, with a point in numbers; save the table so, as other programs do for English"


def read_csv(path: Path, file: str) -> Table:
    """Read a table, its names without blanks around them. Rows are counted from 1, the row of the names.

    Args:
        path: The file, in UTF-8, or in UTF-16 with a byte-order mark.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is no such table; the message names the row.
    """
    text = read_text(path, file)
    _check_separator(text, file)
    _check_width(text, file)
    rows = _rows(text, file)
    names = [name.strip() for name in rows[0]] if rows else []
    if rows and not any(names):
        raise DataWrong(file, "row 1", Phrase("an empty row"), "column names")
    _check_names(names, file)
    while rows and not any(rows[-1]):
        rows.pop()
    body = rows[1:]
    commented = set(re.findall(r"[\r\n](#[^,\r\n]*)", text))  # the quotation marks of a quoted cell would come first
    short = None
    for place, row in enumerate(body):
        if not any(row):
            raise DataWrong(file, f"row {place + 2}", Phrase("an empty row"), "cells; leave the row out")
        if row[0] in commented:
            raise DataWrong(file, f"row {place + 2}", row[0], "cells; a csv file has no comments, so leave the row out")
        if len(row) > len(names):
            if len(body) > 2 and all(len(other) == len(names) + 1 for other in body):
                expected = "a name for the first column, which seems to have the names of the rows; or leave it out"
                raise DataWrong(file, "row 1", Phrase("one name too few"), expected)
            found = Phrase(f"{len(row)} cells")
            expected = f"{len(names)}, one for each column name; a cell that contains a comma stands in quotation marks"
            raise DataWrong(file, f"row {place + 2}", found, expected)
        if len(row) < len(names) and short is None:
            short = (place, len(row))
    if len(body) * len(names) > max(FEW_CELLS, 16 * len(text)):
        found = Phrase(f"{len(body):,} rows and {len(names):,} columns, but only {sum(map(len, body)):,} cells")
        raise DataWrong(file, "the table", found, "rows that have a cell in most columns")

    def column(place: int) -> Cells:
        cells = np.empty(len(body), object)
        cells[:] = [row[place] if place < len(row) else None for row in body]
        return cells

    return Table(file, names, 2, len(body), column, short)


def _rows(text: str, file: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True):
            rows.append(row)
    except csv.Error:
        found = Phrase("a quotation mark that does not end a cell, or a cell of over a million characters")
        expected = 'cells such as "a, b", with a quotation mark inside of one doubled'
        raise DataWrong(file, f"row {len(rows) + 1}", found, expected) from None
    return rows


def _check_separator(text: str, file: str) -> None:
    """Raise DataWrong if the first line has no comma outside of quotation marks, but another separator."""
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    if first.lower().startswith("sep="):
        raise DataWrong(file, "row 1", first, "column names; leave out this line for a spreadsheet program")
    outside = re.sub(r'"[^"]*"', "", first)
    for separator, words in SEPARATORS.items():
        if separator in outside and "," not in outside:
            raise DataWrong(file, "row 1", Phrase(f"cells between {words}, {first[:100]!r}"), COMMAS)


def _check_width(text: str, file: str) -> None:
    """Raise DataWrong if the first lines have far too many cells, before a list is made of each."""
    widest = max(line.count(",") for line in text[: 64 * MAX_COLUMNS].splitlines() or [""])
    if widest >= MAX_COLUMNS:
        found = Phrase(f"{widest + 1:,} columns or more")
        expected = f"at most {MAX_COLUMNS:,}; a long series stands in rows of its own, one step in each"
        raise DataWrong(file, "the table", found, expected)


def _check_names(names: list[str], file: str) -> None:
    """Raise DataWrong if the first row is no row of column names."""
    first = names[0] if names else ""
    if first.startswith(("#", "%")):
        expected = "column names; a csv file has no comments, so leave this line out, or take the sign away"
        raise DataWrong(file, "row 1", first, expected)
    if len(names) == 1:
        raise DataWrong(file, "row 1", Phrase(f"a single name, {first[:100]!r}"), "column names between commas")
    if names and all(NUMBER.fullmatch(name) for name in names):
        raise DataWrong(file, "row 1", Phrase("nothing but numbers"), "column names")
