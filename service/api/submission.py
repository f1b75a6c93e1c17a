"""Store a posted sweep exactly once for each idempotency key, even if two requests race."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header
from sqlalchemy.exc import IntegrityError

from service.store import idempotency, sweeps
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
        description="Retry-safe key: sending the same body again with the same key returns the existing sweep.",
    ),
]


def stored(spec: SweepSpec) -> dict[str, Any]:
    """Return the spec with every default written out, so that a later version's defaults do not change it."""
    return spec.model_dump(mode="json")


def submit(database: Database, spec: SweepSpec, body_hash: str, key: str | None) -> Sweep:
    """Store the sweep and return its row, or return the row that an earlier request with this key stored.

    Raises:
        KeyReused: The earlier request with this key had another body.
    """
    try:
        return _submit(database, spec, body_hash, key)
    except IntegrityError:
        # Another request stored this key after we had looked for it. This time it will be found.
        return _submit(database, spec, body_hash, key)


def _submit(database: Database, spec: SweepSpec, body_hash: str, key: str | None) -> Sweep:
    with database.write() as session:
        known = idempotency.sweep_of(session, key, body_hash) if key else None
        if known:
            return sweeps.get(session, known)
        sweep = sweeps.create(session, spec.name, stored(spec), trial_count(spec))
        if key:
            idempotency.keep(session, key, body_hash, sweep.id)
        return sweep
