"""Strict JSON: what Python's decoder lets pass but the standard does not is refused, and its place is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from workers import decoding
from workers.errors import FieldError

MAX_DEPTH = 32
MAX_SHOWN = 20
"""The most faults that are named in one answer."""
MAX_NAME = 200
"""The most characters of a field's path that are shown."""
MAX_DIGITS = 19
"""An integer of more characters, its sign included, counts as infinite: it fits no field, and converting takes long."""
NUMBERS = f"a number of magnitude below 1e308; an integer of at most {MAX_DIGITS} digits"
WHOLE = "(document)"
"""The field that is named if the fault lies in no single field."""


class NotStrictJson(ValueError):
    """A document is not strict JSON.

    Attributes:
        malformed: Whether it could not be decoded at all.
        errors: What is wrong, with its place; never empty.
    """

    def __init__(self, errors: list[FieldError], *, malformed: bool) -> None:
        self.errors, self.malformed = errors, malformed
        super().__init__("; ".join(error.problem if malformed else str(error) for error in errors))


def decode(raw: bytes) -> Any:
    """Decode JSON, and refuse what Python's decoder accepts but nobody can mean.

    Args:
        raw: The document in UTF-8, or in UTF-16 with a byte-order mark.

    Raises:
        NotStrictJson: The text is not JSON, or holds NaN, Infinity, a number too large for a float, an integer of more
            than ``MAX_DIGITS`` digits, a key twice in one object, half of a surrogate pair, or more than ``MAX_DEPTH``
            levels. The errors name the place of each of the first ``MAX_SHOWN`` faults.
    """
    try:
        document = json.loads(decoding.decode(raw), object_pairs_hook=_object, parse_int=_integer)
    except decoding.NotText as error:
        problem = f"is not text at line {error.line}, column {error.column}"
        raise _malformed(error.found, problem, f"JSON as {decoding.TEXT}") from None
    except json.JSONDecodeError as error:
        given = error.doc[error.pos : error.pos + 40] or "nothing more" if error.doc.strip() else "nothing at all"
        problem = f"is not JSON at line {error.lineno}, column {error.colno}"
        raise _malformed(given, problem, 'a JSON object, such as {"name": "mine"}') from None
    except RecursionError:
        raise _malformed("...", f"is nested too deep, over {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels") from None
    errors = [error for _, error in zip(range(MAX_SHOWN), _faults(document), strict=False)]
    if errors:
        raise NotStrictJson(errors, malformed=False)
    return document


def _malformed(given: str, problem: str, allowed: str) -> NotStrictJson:
    return NotStrictJson([FieldError(WHOLE, given, problem, allowed)], malformed=True)


class _ObjectWithRepeatedKey(dict[str, Any]):
    """A decoded JSON object in whose text ``key`` occurs more than once; ``key`` is the first such key."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    repeated = _ObjectWithRepeatedKey(document)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            repeated.key = name
            break
        seen.add(name)
    return repeated


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= MAX_DIGITS else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _faults(document: Any) -> Iterator[FieldError]:
    """Yield the faults that Python's decoder let pass, each with the path of the value or key at fault.

    The walk keeps its own stack: a hostile document may be nested deeper than Python can recurse.
    """
    if not isinstance(document, dict | list):
        yield from _faults_of_scalar((), document)
    left: list[tuple[tuple[str, ...], Any]] = [((), document)]
    while left:
        path, value = left.pop()
        if isinstance(value, dict):
            yield from _faults_of_keys(path, value)
        elif not isinstance(value, list):
            continue
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(item, dict | list):
                if not _is_sound(item):
                    yield from _faults_of_scalar((*path, str(name)), item)
            elif len(path) + 1 >= MAX_DEPTH:
                yield FieldError(_field((*path, str(name))), "...", "is nested too deep", f"at most {MAX_DEPTH} levels")
            else:
                left.append(((*path, str(name)), item))


def _is_sound(value: Any) -> bool:
    """Return whether a value that is neither an object nor a list has no fault."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or value.isascii() or not _has_half_pair(value)


def _faults_of_scalar(path: tuple[str, ...], value: Any) -> Iterator[FieldError]:
    if isinstance(value, float) and not math.isfinite(value):
        yield FieldError(_field(path), str(value), "is not a finite number, or has too many digits", NUMBERS)
    elif isinstance(value, str) and _has_half_pair(value):
        shown = ascii(value)[:MAX_NAME]
        yield FieldError(_field(path), shown, "has half of a surrogate pair", "text in Unicode")


def _faults_of_keys(path: tuple[str, ...], value: dict[str, Any]) -> Iterator[FieldError]:
    if isinstance(value, _ObjectWithRepeatedKey):
        name = ascii(value.key)[1:-1][:MAX_NAME]
        yield FieldError(_field((*path, name)), name, "is given twice in one object", "each key once")
    for name in filter(_has_half_pair, value):
        shown = ascii(name)[:MAX_NAME]
        yield FieldError(_field(path), shown, "is a key with half of a surrogate pair", "text in Unicode")


def _field(path: tuple[str, ...]) -> str:
    """Return a path as dotted text, cut to ``MAX_NAME`` characters; ``WHOLE`` for the document itself.

    It is called for faults alone: joining the path of every value would copy a long key for each value below it.
    """
    return ".".join(part[:MAX_NAME] for part in path)[:MAX_NAME] or WHOLE


def _has_half_pair(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)
