"""What can be wrong with a request to the store, apart from the database itself."""

from __future__ import annotations


class NotFound(LookupError):
    """No such row. ``noun`` is sweep, trial, ...; ``id`` is what was asked for."""

    def __init__(self, noun: str, id: str, hint: str = "") -> None:
        self.noun, self.id = noun, id
        super().__init__(f"there is no {noun} {id[:100]!r}{hint}")


class KeyReused(ValueError):
    """An idempotency key that came before with another body."""
