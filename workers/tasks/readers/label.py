"""The one function from what a file holds to a label, for every format: ``1``, ``1.0`` and ``"1"`` are one label."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from unicodedata import category, normalize

from workers.tasks.readers.number import COMMA, INFINITE, NUMBER, STAND_INS, is_missing

MOST_DIGITS = 40
"""A number of more digits is a label like any other text, so that a short ``1e999999`` is not written out."""
EXACT_FLOAT = 2**53
"""From here on floats cannot tell neighbouring whole numbers apart."""
CODE = re.compile(r"[+-]?0[0-9]")
"""The beginning of a code such as ``007``, whose zeros tell it from ``7``."""
JOINERS = "\u200c\u200d"
"""Invisible characters that belong to the words of some scripts."""
HEXADECIMAL = re.compile(r"[0-9]+[eE][0-9]+")
"""A whole number with a bare exponent, such as ``1e1``, which may be a name in hexadecimal; ``1e+01`` is none."""


class NotALabel(ValueError):
    """A value cannot be the label of a class.

    Attributes:
        index: Its place among the values, from 0.
        expected: What is expected instead, in words.
    """

    def __init__(self, expected: str, index: int = 0) -> None:
        self.index, self.expected = index, expected
        super().__init__(f"value {index}: expected {expected}")


def label_of(value: Any) -> str:
    """Return the label that a value stands for, or "" for a missing one.

    Whole numbers are written as integers, whether they come as numbers or as text; a code such as ``007`` or ``1e1``
    stays as it is. True and False are ``True`` and ``False`` in any notation. Blanks around a text are left out, and
    composed and decomposed letters are the same. Missing are None, NaN, NULL and the empty text.

    Raises:
        NotALabel: If a float is too large to be told from its neighbours, is infinite, if bytes are not UTF-8, or if a
            text has several lines or invisible characters, or stands for a missing value in another program.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise NotALabel("text in UTF-8") from None
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        if abs(value) > EXACT_FLOAT:
            raise NotALabel("a label up to 2^53 if it is a float; larger ones as integers or as text")
        value = int(value) if value.is_integer() else repr(value)
    text = normalize("NFC", str(value).strip())
    if "\n" in text or "\r" in text:
        raise NotALabel("a text on one line; look for a quotation mark that ends too late")
    if is_missing(text):
        return ""
    if text in STAND_INS or INFINITE.fullmatch(text):
        raise NotALabel("an empty cell for a missing label; or, if this is the name of a class, another name")
    if "\0" in text or any(category(sign) == "Cf" and sign not in JOINERS for sign in text):
        raise NotALabel("a text without invisible characters")
    if text.lower() in ("true", "false"):
        return text.capitalize()
    return _one_notation(text)


def _one_notation(text: str) -> str:
    """Return a number as short as can be without an exponent, 1 for ``1.0`` and ``1e+00``, another text unchanged."""
    number = None if CODE.match(text) or HEXADECIMAL.fullmatch(text) or len(text) > MOST_DIGITS else _number(text)
    if number is None:
        return text
    return f"{number:f}".rstrip("0") if _has_fraction(number) else str(int(number))


def _number(label: str) -> Decimal | None:
    """Return the number that a label is; None if it is a text, or a number of an immense size."""
    if not NUMBER.fullmatch(label):
        return None
    try:
        number = Decimal(label)
    except InvalidOperation:  # the exponent has too many digits
        return None
    return number if abs(number.adjusted()) <= MOST_DIGITS or number == 0 else None


def _has_fraction(number: Decimal) -> bool:
    return number != number.to_integral_value()


def labels_of(values: Iterable[Any]) -> list[str]:
    """Return the label of each value. Raises NotALabel, with the place of the value."""
    known: dict[tuple[type, Any], str] = {}
    found = []
    for index, value in enumerate(values):
        key = (type(value), value)
        if key not in known:
            try:
                known[key] = label_of(value)
            except NotALabel as error:
                raise NotALabel(error.expected, index) from None
        found.append(known[key])
    return found


def in_order(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels in the order of their class numbers: by value if all are numbers, else as text.

    The empty label, which stands for a missing one, is left out.
    """
    found = {label: _number(label) for label in labels if label}
    if None in found.values():
        return sorted(found)
    return sorted(found, key=lambda label: (found[label] or 0, label))


def fractional(labels: Sequence[str]) -> int | None:
    """Return the place of the first number with a fraction, if most labels are such numbers; else None.

    They are measurements, not classes. Among names, a label such as ``2.5`` is a name too. A fraction after a decimal
    comma counts. The empty label is left out.
    """
    distinct = {label for label in labels if label}
    numbers = {label: _number(label) for label in distinct}
    wrong = {label for label in distinct if COMMA.fullmatch(label)}
    wrong |= {label for label, number in numbers.items() if number is not None and _has_fraction(number)}
    names = sum(number is None for label, number in numbers.items() if label not in wrong)
    if not wrong or 2 * names >= len(distinct):
        return None
    return next(place for place, label in enumerate(labels) if label in wrong)
