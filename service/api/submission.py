"""Store a posted sweep exactly once for each idempotency key, even if two requests race."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request

from service.api.json_body import JsonBody
from service.api.problems import Refused
from service.api.storage_check import refuse_without_space
from service.store import idempotency, quotas, sweeps
from service.store.database import Database
from service.store.sweep_summary import facts_of
from service.store.tables import Sweep
from workers.errors import FieldError
from workers.spec.checkpoint_size import sweep_bytes
from workers.spec.expand import trial_count
from workers.spec.sweep import SweepSpec

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="Key of this request: the same body with the same key again has no further effect and returns "
        "the existing sweep, and another body is refused with 409. White space and the order of keys may differ.",
    ),
]


async def _one_key(request: Request, key: Key = None) -> str | None:
    """Return the idempotency key; refuse a request that has several, of which one would be chosen silently."""
    given = request.headers.getlist("idempotency-key")
    if len(given) > 1:
        error = FieldError("Idempotency-Key", len(given), "is given more than once", "the header once")
        raise Refused(422, "Invalid request", str(error), [error])
    return key


OneKey = Annotated[str | None, Depends(_one_key)]
"""The type of a handler's parameter that takes the idempotency key, or None."""


def stored(spec: SweepSpec) -> dict[str, Any]:
    """Return the spec as the document to store, with every default written out.

    A later version of the service may have other defaults, which must not change a stored sweep.
    """
    return spec.model_dump(mode="json")


def find_by_key(database: Database, body: JsonBody, key: str | None, owner: str) -> Sweep | None:
    """Return the row that an earlier request of the owner with this key stored; None if there is none, or no key.

    It is looked for before the document is checked, so that a repeated request finds its sweep although the data of the
    sweep may have been removed since.

    Raises:
        KeyReused: The earlier request with this key had another body.
    """
    if not key:
        return None
    with database.read() as session:
        found = idempotency.sweep_of(session, owner, key, body.hashes)
        return sweeps.get(session, found) if found else None


def submit(database: Database, spec: SweepSpec, body: JsonBody, key: str | None, owner: str) -> tuple[Sweep, bool]:
    """Store the sweep and return its row, or the row that an earlier request of its owner with this key stored.

    Without a key, every call stores a new sweep.

    Args:
        database: Where to store it.
        spec: The sweep.
        body: The request's body, by which a repeated request is recognised.
        key: The idempotency key; None or empty for none.
        owner: Who submits it.

    Returns:
        The row, and whether this call stored it.

    Raises:
        QuotaExceeded: The owner has as many open sweeps or trials, or stored bytes, as they may have, or their sweeps
            may not have so high a priority.
        KeyReused: The earlier request with this key had another body.
        Refused: The sweep's checkpoints do not fit into the checkpoint store; the status is 507.
    """
    document, facts, needed = stored(spec), facts_of(spec), sweep_bytes(spec)

    def attempt() -> tuple[Sweep, bool]:
        with database.write() as session:
            known = idempotency.sweep_of(session, owner, key, body.hashes) if key else None
            if known:
                return sweeps.get(session, known), False
            quotas.admit(session, owner, trial_count(spec))
            quotas.admit_priority(session, owner, spec.priority)
            refuse_without_space(session, spec, needed)
            sweep = sweeps.create(session, spec.name, document, trial_count(spec), facts, owner, needed)
            if key:
                idempotency.keep(session, owner, key, body.hashes[0], sweep.id)
            return sweep, True

    try:
        return attempt()
    except IntegrityError:
        # Another request stored this key after we had looked for it. This time it will be found.
        return attempt()
