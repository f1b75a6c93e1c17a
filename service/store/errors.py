"""Errors that the store raises because of what it was asked for."""

from __future__ import annotations


class NotFound(LookupError):
    """The requested row does not exist.

    Attributes:
        noun: The kind of row, such as ``sweep`` or ``trial``.
        id: The id that was asked for.

    Args:
        noun: The kind of row.
        id: The id; the message shows its first 100 characters.
        hint: Text that is appended to the message as it is.
    """

    def __init__(self, noun: str, id: str, hint: str = "") -> None:
        self.noun, self.id = noun, id
        super().__init__(f"there is no {noun} {id[:100]!r}{hint}")


class KeyReused(ValueError):
    """An idempotency key has created a sweep before, from a request body with another hash."""


class QuotaExceeded(Exception):
    """An owner has as much of the service as they may have at a time. The message says of what, and how much."""
