"""Idempotency keys: the sweep that each client's key created. Stored in the transaction that creates the sweep."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.store.errors import KeyReused
from service.store.tables import IdempotencyKey


def sweep_of(session: Session, key: str, body_hash: str) -> str | None:
    """Return the id of the sweep that this key has created; None for a new key.

    Raises:
        KeyReused: If the key came before with a request body of another hash.
    """
    known = session.get(IdempotencyKey, key)
    if known is None:
        return None
    if known.body_hash != body_hash:
        raise KeyReused(f"idempotency key {key!r} was used before with another body, for sweep {known.sweep_id}")
    return known.sweep_id


def keep(session: Session, key: str, body_hash: str, sweep_id: str) -> None:
    """Store the key.

    Raises:
        sqlalchemy.exc.IntegrityError: If another transaction has stored the same key first.
    """
    session.add(IdempotencyKey(key=key, body_hash=body_hash, sweep_id=sweep_id))
    session.flush()
