"""Cursors: opaque text that says after which row the next page of a list begins."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from service.api.problems import Refused
from workers.errors import FieldError


def encode(*place: float | str | None) -> str:
    """Return a cursor that holds ``place``: the values of a page's last row by which its list is sorted."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...]) -> Any:
    """Return the list of values that ``encode`` put into a cursor.

    Args:
        cursor: What a client sent.
        kinds: For each value its type, or the types that it may have.

    Raises:
        Refused: The text is not a cursor, or holds another number of values or values of other types (422).
    """
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        place = None
    whole = isinstance(place, list) and len(place) == len(kinds)
    if not whole or not all(isinstance(v, kind) and _sound(v) for v, kind in zip(place, kinds, strict=True)):
        error = FieldError("cursor", cursor[:100], "is not a cursor of this list", "the next_cursor of the page before")
        raise Refused(422, "Invalid request", str(error), [error])
    return place


def _sound(value: Any) -> bool:
    """Return whether every database can compare a column with the value.

    It can with printable ASCII, None, a finite float, and an integer below 2^53 in size.
    """
    if isinstance(value, str):
        return value.isascii() and value.isprintable()
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (not isinstance(value, bool) and abs(value) < 2**53)
