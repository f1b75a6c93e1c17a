"""Check of the steps or times of a table's rows: in order, and at equal distances as exactly as they were stored."""

from __future__ import annotations

import re
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.number import NUMBER, NotANumber, floats
from workers.tasks.readers.table import Cells, Table

EVEN = 1e-6
"""Relative difference up to which two distances count as equal: sums of a distance are not exact."""
NUMBER_LIKE = re.compile(r"[+-]?[0-9][0-9,_' \u2019]*\.?[0-9,_' \u2019]*")
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
DECIMALS = re.compile(r"(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,3}))?$")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""How many of numpy's units of time are in a second."""
ZONED = re.compile(r"[Tt ][0-9].*(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)$")
"""A time of day with an offset from UTC at its end."""
DATED = "a date and time in ISO 8601, such as 2024-02-01T13:00"

Times = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def check_steps(table: Table, column: str, rows: list[npt.NDArray[np.int64]], uneven: bool) -> None:
    """Check that the steps of each series increase, at equal distances unless ``uneven``.

    Times that were rounded when they were stored count as equally far apart if they are so up to one unit of their last
    digit, provided that this unit is so much smaller than the distance that a missing step is always found.

    Args:
        table: The table.
        column: Name of its column of steps: numbers, or dates and times in ISO 8601.
        rows: Row numbers of each series, (T_i,), in the order of the file.
        uneven: Whether the distances may differ.

    Raises:
        DataWrong: If a step is not greater than the one before it in its series, if distances differ and ``uneven`` is
            false, or if a cell is neither a number nor a date; the message names the row.
    """
    cells = table.cells(column)
    times, seconds = _times(table, column)
    for one in rows:
        passed = (times[one] - times[one[0]]).astype(np.float64)
        sizes = np.diff(passed)
        unsorted = ~(sizes > 0)
        if unsorted.any():
            at = int(np.argmax(unsorted)) + 1
            found, before = (str(cells[one[i]]) for i in (at, at - 1))
            expected = f"a step after {before}, which row {one[at - 1] + table.first} of the same series has"
            raise DataWrong(table.file, table.place(int(one[at]), column), found, expected)
        if uneven or _are_even(sizes):
            continue
        precisions = _precisions(times[one], cells[one])
        if _are_even_when_rounded(passed, precisions, _float_unit(times[one])):
            continue
        usual = np.sort(sizes)[(len(sizes) - 1) // 2]
        off = np.abs(sizes - usual)
        at = int(np.argmax(off >= 0.999 * off.max())) + 1  # the first of those that are farthest off
        unit = precisions[-1]
        shown = [round(size / unit) * unit if size * 1e-15 < unit < size else size for size in (usual, sizes[at - 1])]
        stored_usual, stored = (_words(size, seconds) for size in shown)
        expected = f"steps of {stored_usual}, as in most of the series; or set the field uneven to true"
        raise DataWrong(table.file, table.place(int(one[at]), column), Phrase(f"a step of {stored}"), expected)


def _words(size: float, seconds: float | None) -> str:
    """Return the size of a step in words; of dates in days or seconds, ``seconds`` of which are 1."""
    if seconds is None:
        return f"{size:.9g}"
    days = size * seconds / 86_400
    return f"{days:g} day{'s' * (days != 1)}" if days.is_integer() else f"{size * seconds:.9g} s"


def _are_even(sizes: npt.NDArray[np.float64]) -> bool:
    return not len(sizes) or bool((np.abs(sizes - sizes[0]) <= EVEN * sizes[0]).all())


def _are_even_when_rounded(passed: npt.NDArray[np.float64], precisions: tuple[float, ...], float_unit: float) -> bool:
    """Return whether increasing times are equally far apart but for the rounding to one of the precisions.

    A rounded time is off by up to half a unit, and by a float's rounding before and after it. So e, a unit and two
    distances of floats, bounds the difference between two times; a distance between neighbours differs from the mean of
    n by up to e (1 + 1 / n). If one of n + 1 equal distances d is doubled because a step is missing, the mean of the n
    others is D = d (n + 1) / n, and the double one differs from it by more than that as long as
    e < D n (n - 1) / (2 (n + 1)^2). Coarser times are not taken for rounded ones.

    Args:
        passed: Times since the first, (n + 1,).
        precisions: Units to which the times may have been rounded.
        float_unit: Distance between neighbouring floats at the largest time.
    """
    sizes = np.diff(passed)
    n, distance = len(sizes), passed[-1] / len(sizes)
    off = np.abs(passed - distance * np.arange(n + 1)).max()
    off = max(off, np.abs(sizes - distance).max() / (1 + 1 / n))
    coarsest = distance * n * (n - 1) / (2 * (n + 1) ** 2)
    errors = [unit + 2 * float_unit for unit in precisions]
    return any(error < coarsest and off <= error + EVEN * distance for error in errors)


def _precisions(times: Times, cells: Cells) -> tuple[float, ...]:
    """Return the units to which the times of a series may have been rounded: as floats, and as decimal numbers."""
    if times.dtype.kind == "i":
        divisor = gcd(*times.tolist())
        return (float(10 ** (len(str(divisor)) - len(str(divisor).rstrip("0")))),)
    if cells.dtype.kind == "f":
        words = [np.format_float_positional(cell, trim="-") for cell in cells]
    else:
        words = [str(cell).strip() for cell in cells.tolist()]
    return _float_unit(times), min(map(_last_digit, words))


def _float_unit(times: Times) -> float:
    """Return the distance between neighbouring floats at the largest of the times; of float32 if all are float32."""
    if times.dtype.kind == "i":
        return 0.0
    largest = np.abs(times).max()
    with np.errstate(over="ignore"):
        is_single = (times.astype(np.float32) == times).all()
    return float(np.spacing(np.float32(largest) if is_single else largest))


def _last_digit(word: str) -> float:
    """Return what the last digit of a written number stands for: 0.01 for ``1.50``, 1 for ``7``."""
    found = DECIMALS.search(word)
    decimals, exponent = found.groups() if found else ("", "0")
    return float(f"1e{int(exponent or 0) - len(decimals or '')}")


def _times(table: Table, column: str) -> tuple[Times, float | None]:
    """Return the steps, (rows,), and the seconds that 1 stands for if they are dates, which become integers."""
    cells = table.cells(column)
    if cells.dtype.kind in "mM" or _is_dated(cells):
        dates = cells if cells.dtype.kind in "mM" else _dates(table, column)
        _refuse(table, column, np.isnat(dates))
        unit = np.datetime_data(dates.dtype)[0]
        if unit not in PER_SECOND:
            unit, dates = "s", dates.astype(f"{dates.dtype.kind}8[s]")
        return dates.astype(np.int64), 1 / PER_SECOND[unit]
    if cells.dtype.kind in "iu" and (cells.dtype != np.uint64 or cells.max() < 2**63):
        return cells.astype(np.int64), None
    words = ["" if cell is None else str(cell).strip() for cell in cells.tolist()]
    if all(WHOLE.fullmatch(word) for word in words):
        return np.array([int(word) for word in words], np.int64), None
    try:
        times = cells.astype(np.float64) if cells.dtype.kind == "f" else floats(words)
    except NotANumber as error:
        place = table.place(error.index, column)
        raise DataWrong(table.file, place, words[error.index], f"{error.expected}, or {DATED}") from None
    _refuse(table, column, ~np.isfinite(times))
    return times, None


def _refuse(table: Table, column: str, wrong: npt.NDArray[np.bool_]) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        cell = table.cells(column)[row]
        found = Phrase("nothing") if cell is None or not str(cell).strip() else str(cell)
        raise DataWrong(table.file, table.place(row, column), found, f"a number, or {DATED}")


def _is_dated(cells: Cells) -> bool:
    """Return whether a column of text begins with something else than a number; all of it is then read as dates."""
    first = str(cells[0]).strip() if cells.dtype.kind == "O" and cells[0] is not None else ""
    return bool(first) and not NUMBER.fullmatch(first) and not NUMBER_LIKE.fullmatch(first)


def _dates(table: Table, column: str) -> npt.NDArray[Any]:
    """Return dates and times in ISO 8601, in UTC; what is none becomes NaT.

    Raises:
        DataWrong: If some times have an offset from UTC and others have none.
    """
    import pandas as pd

    cells = table.cells(column)
    zoned = [ZONED.search(str(cell).strip()) is not None for cell in cells.tolist()]
    if zoned[0] != all(zoned) or zoned[0] != any(zoned):
        row = next(row for row, one in enumerate(zoned) if one != zoned[0])
        has = "with an offset from UTC" if zoned[0] else "without an offset from UTC"
        raise DataWrong(table.file, table.place(row, column), str(cells[row]), f"a time {has}, as in the first row")
    found = pd.to_datetime(pd.Series(cells), errors="coerce", format="ISO8601", utc=True)
    return np.asarray(found.dt.tz_localize(None).to_numpy())
