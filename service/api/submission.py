"""A posted sweep becomes a row exactly once for each idempotency key, also when two requests race."""

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
        alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[!-~]+$",
        description="the same key with the same body is the same sweep, however often it is sent",
    ),
]  # fmt: skip


def stored(spec: SweepSpec) -> dict[str, Any]:
    """The spec with every default written out, so that a later version's defaults do not change it."""
    return spec.model_dump(mode="json")


def submit(database: Database, spec: SweepSpec, body_hash: str, key: str | None) -> Sweep:
    """The new sweep, or the one that came before with this key. Raises KeyReused where its body was another."""
    try:
        return _submit(database, spec, body_hash, key)
    except IntegrityError:
        # another request stored this key between our look and our commit: now it is there to be found
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
