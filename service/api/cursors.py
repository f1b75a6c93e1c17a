"""Cursors of listings: the position after the last row shown, as opaque text."""

from __future__ import annotations

import base64
import json
from typing import Any

from service.api.problems import Refused
from workers.errors import FieldError


def encode(*place: float | str | None) -> str:
    """Return the values by which a listing is sorted, taken from its last row, as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type | tuple[type, ...]) -> Any:
    """Return the values in a cursor.

    Args:
        cursor: What a client sent.
        kinds: The type of each value.

    Raises:
        Refused: The cursor has other values, so that no listing of this kind can have returned it (422).
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
    """Return whether every database can compare its columns with the value."""
    if isinstance(value, str):
        return value.isascii() and value.isprintable()
    return value is None or (not isinstance(value, bool) and abs(value) < 2**53)
