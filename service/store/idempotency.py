"""Idempotency keys: which sweep a client's key stands for, stored in the transaction that creates the sweep."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.store.errors import KeyReused
from service.store.tables import IdempotencyKey


def sweep_of(session: Session, key: str, body_hash: str) -> str | None:
    """The sweep that came before with this key, None for a new one; KeyReused where the body was another."""
    known = session.get(IdempotencyKey, key)
    if known is None:
        return None
    if known.body_hash != body_hash:
        raise KeyReused(f"idempotency key {key!r} came before with another body; it stands for sweep {known.sweep_id}")
    return known.sweep_id


def keep(session: Session, key: str, body_hash: str, sweep_id: str) -> None:
    """Remember the key. Raises sqlalchemy's IntegrityError where another transaction did so first."""
    session.add(IdempotencyKey(key=key, body_hash=body_hash, sweep_id=sweep_id))
    session.flush()
