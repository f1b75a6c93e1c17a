"""Store a posted sweep exactly once for each idempotency key, even if two requests race."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from sqlalchemy.exc import IntegrityError

from service.store import idempotency, quotas, sweeps
from service.store.database import Database
from service.store.tables import Sweep
from workers.spec.expand import trial_count
from workers.spec.sweep import SweepSpec

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="Key of this submission: the same body with the same key again returns the existing sweep, and "
        "another body is refused with 409. White space may differ, the order of keys may not.",
    ),
]


def stored(spec: SweepSpec) -> dict[str, Any]:
    """Return the spec as the document to store, with every default written out.

    A later version of the service may have other defaults, which must not change a stored sweep.
    """
    return spec.model_dump(mode="json")


def find_by_key(database: Database, body_hash: str, key: str | None, owner: str) -> Sweep | None:
    """Return the row that an earlier request of the owner with this key stored; None if there is none, or no key.

    It is looked for before the document is checked, so that a repeated request finds its sweep although the data of the
    sweep may have been removed since.

    Raises:
        KeyReused: The earlier request with this key had another body.
    """
    if not key:
        return None
    with database.read() as session:
        found = idempotency.sweep_of(session, owner, key, body_hash)
        return sweeps.get(session, found) if found else None


def submit(database: Database, spec: SweepSpec, body_hash: str, key: str | None, owner: str) -> Sweep:
    """Store the sweep and return its row, or the row that an earlier request of its owner with this key stored.

    Without a key, every call stores a new sweep.

    Args:
        database: Where to store it.
        spec: The sweep.
        body_hash: The hash of the request's body, by which a repeated request is recognised.
        key: The idempotency key; None or empty for none.
        owner: Who submits it.

    Raises:
        QuotaExceeded: The owner has as many open sweeps or trials as they may have.
        KeyReused: The earlier request with this key had another body.
    """
    try:
        return _submit(database, spec, body_hash, key, owner)
    except IntegrityError:
        # Another request stored this key after we had looked for it. This time it will be found.
        return _submit(database, spec, body_hash, key, owner)


def _submit(database: Database, spec: SweepSpec, body_hash: str, key: str | None, owner: str) -> Sweep:
    with database.write() as session:
        known = idempotency.sweep_of(session, owner, key, body_hash) if key else None
        if known:
            return sweeps.get(session, known)
        count = trial_count(spec)
        quotas.admit(session, owner, count)
        sweep = sweeps.create(session, spec.name, stored(spec), count, owner)
        if key:
            idempotency.keep(session, owner, key, body_hash, sweep.id)
        return sweep
