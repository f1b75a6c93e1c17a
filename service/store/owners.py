"""Owners and their limits. The caller commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.errors import NotFound
from service.store.tables import Owner

Limit = int | float | None


@dataclass(frozen=True)
class OwnerLimits:
    """How much of the service an owner may have at a time; None for as much as there is. The defaults are generous.

    Attributes are those of the table's ``Owner``.
    """

    requests_per_second: float | None = 100.0
    running_trials: int | None = None
    open_sweeps: int | None = 1_000
    open_trials: int | None = 100_000
    stored_bytes: int | None = None
    weight: float = 1.0
    running_cpus: float | None = None
    running_gpus: float | None = None
    highest_priority: int | None = None


DEFAULTS = OwnerLimits()
NAMES: tuple[str, ...] = tuple(OwnerLimits.__dataclass_fields__)


def ensure(session: Session, name: str) -> Owner:
    """Return an owner, who is created with the default limits if there is none of this name."""
    found = session.get(Owner, name)
    if found is None:
        found = Owner(name=name)
        session.add(found)
        session.flush()
    return found


def get(session: Session, name: str) -> Owner:
    """Return an owner. Raise NotFound if there is none of this name."""
    found = session.get(Owner, name)
    if found is None:
        raise NotFound("owner", name, "; an owner begins with their first token")
    return found


def every(session: Session) -> Sequence[Owner]:
    """Return all owners in order of name."""
    return session.scalars(select(Owner).order_by(Owner.name)).all()


def limit(session: Session, name: str, limits: Mapping[str, Limit]) -> Owner:
    """Set some limits of an owner, by name; None gives one its default back. Return the owner.

    Raises:
        NotFound: There is no owner of this name.
    """
    owner = get(session, name)
    for field, value in limits.items():
        assert field in NAMES, field
        setattr(owner, field, value)
    session.flush()
    return owner


def limits_of(owner: Owner | None) -> OwnerLimits:
    """Return the limits of an owner: the defaults where they have none of their own, and for None."""
    own = {field: value for field in NAMES if (value := getattr(owner, field, None)) is not None}
    return OwnerLimits(**{**DEFAULTS.__dict__, **own})
