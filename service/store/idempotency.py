"""Idempotency keys: the sweep that each client's key has created or changed. Stored in the transaction that does it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm import Session

from service.store.errors import KeyReused
from service.store.tables import IdempotencyKey


def sweep_of(session: Session, owner: str, key: str, hashes: Collection[str]) -> str | None:
    """Return the id of the sweep that an owner's request with this key and body was about; None for a new key.

    Raises:
        KeyReused: If the key is known, with a hash of the body that is none of ``hashes``.
    """
    known = session.get(IdempotencyKey, (owner, key))
    if known is None:
        return None
    if known.body_hash not in hashes:
        problem = f"idempotency key {key!r} came with another request, about sweep {known.sweep_id}; send a new key"
        raise KeyReused(problem)
    return known.sweep_id


def keep(session: Session, owner: str, key: str, body_hash: str, sweep_id: str) -> None:
    """Store that the owner's request with this key and body has created or changed a sweep.

    Raises:
        sqlalchemy.exc.IntegrityError: If the key is stored already, by this or another transaction.
    """
    session.add(IdempotencyKey(owner=owner, key=key, body_hash=body_hash, sweep_id=sweep_id))
    session.flush()
