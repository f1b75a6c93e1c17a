"""Numbers in text files, by a written pattern: ``12``, ``-0.5``, ``.5``, ``1e-3``, and the words for a missing one.

Python's ``float`` accepts more than data files mean: ``1_100``, and the digits of other scripts. These are refused, and
so are decimal commas and separators of thousands, which would change the number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
MISSING = re.compile(r"(?:[+-]?nan|null)?", re.IGNORECASE)
"""The cells that are missing in every format: empty, NaN and NULL."""
STAND_INS = frozenset(
    {
        *("NA", "<NA>", "N/A", "n/a", "#N/A", "NaT", "None", "?", "1.#QNAN", "1.#IND", "-1.#IND"),
        *("#DIV/0!", "#NULL!", "#VALUE!", "#REF!", "#NAME?", "#NUM!"),
    }
)
"""What programs write for a missing or impossible value. None of it is read unnoticed."""
TRUTH = re.compile("true|false", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+")
COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")
"""A number with a decimal comma."""
PLAIN = frozenset("0123456789+-.eE \t")
"""Characters of numbers. ``float`` reads a cell that has no others as the pattern does, or refuses it."""


class NotANumber(ValueError):
    """A cell is neither a number nor missing.

    Attributes:
        index: Its place in the list of cells, from 0.
        expected: What is expected instead, in words.
    """

    def __init__(self, index: int, expected: str) -> None:
        self.index, self.expected = index, expected
        super().__init__(f"cell {index}: expected {expected}")


def is_missing(cell: str) -> bool:
    """Return whether a cell has no value: it is empty, or says NaN or NULL in upper or lower case."""
    return MISSING.fullmatch(cell.strip()) is not None


def floats(cells: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the numbers of cells, (N,). Missing ones are NaN, and infinite ones infinite.

    If all cells that are not missing say True or False, they are 1 and 0.

    Raises:
        NotANumber: At the first cell that is neither a number nor missing.
    """
    if PLAIN.issuperset("".join(cells)):
        try:
            return np.array([float(cell) for cell in cells], np.float64)
        except ValueError:  # some are empty, or wrong
            pass
    words = [cell.strip() for cell in cells]
    if all(TRUTH.fullmatch(word) or MISSING.fullmatch(word) for word in words):
        words = [str(int(word.lower() == "true")) if TRUTH.fullmatch(word) else "" for word in words]
    return np.array([_float(index, word) for index, word in enumerate(words)], np.float64)


def _float(index: int, cell: str) -> float:
    if MISSING.fullmatch(cell):
        return float("nan")
    if NUMBER.fullmatch(cell) or INFINITE.fullmatch(cell):
        return float(cell)
    raise NotANumber(index, _expected(cell))


def _expected(cell: str) -> str:
    """Return what is expected instead of a cell, with a hint if it is a number in another notation."""
    if cell in STAND_INS:
        return "a number, or an empty cell where a value is missing"
    if THOUSANDS.fullmatch(cell):
        return "a number with a decimal point, and without separators of thousands"
    if NUMBER.fullmatch(cell.replace(",", ".")):
        return "a number with a decimal point, not a comma"
    if NUMBER.fullmatch(re.sub(r"[,.'_\s\u2019]", "", cell)):
        return "a number without separators between its digits, and with a decimal point"
    if NUMBER.fullmatch(cell.replace("\N{MINUS SIGN}", "-")):
        return "a number with a hyphen as its minus sign"
    if any(sign.isdecimal() and not sign.isascii() for sign in cell):
        return "a number in the digits 0 to 9"
    return "a number"
