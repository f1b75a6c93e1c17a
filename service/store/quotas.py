"""What an owner may still have: sweeps to submit, and trials to run. The caller commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.states import SWEEP_OPEN
from service.store.errors import QuotaExceeded
from service.store.owners import OwnerLimits, limits_of
from service.store.tables import Owner, Sweep, Trial, TrialCheckpoint

AnyTrial = TypeVar("AnyTrial")


def admit(session: Session, owner: str, trials: int, new_sweeps: int = 1) -> None:
    """Raise QuotaExceeded if an owner may not have so many trials more now.

    Args:
        session: A session in a write transaction.
        owner: The owner.
        trials: The number of trials of a new sweep or of one that goes on, or those by which an open one grows.
        new_sweeps: By how many sweeps the number of open ones grows: 0 if the sweep is open already.

    The owner's row stays locked until the transaction ends, so that two sweeps at once cannot both take the last place.
    Whoever has no row, because they never had a token, has no limits.
    """
    row = session.scalar(select(Owner).where(Owner.name == owner).with_for_update())
    if row is None:
        return
    limits = limits_of(row)
    query = select(func.count(), func.coalesce(func.sum(Sweep.trial_count), 0))
    sweeps, planned = session.execute(query.where(Sweep.owner == owner, Sweep.state.in_(SWEEP_OPEN))).one()
    if limits.open_sweeps is not None and new_sweeps and sweeps + new_sweeps > limits.open_sweeps:
        raise QuotaExceeded(
            f"{owner} has {sweeps:,} sweeps that have not ended, of {limits.open_sweeps:,} allowed; wait for "
            "one to end, or cancel one"
        )
    if limits.open_trials is not None and planned + trials > limits.open_trials:
        raise QuotaExceeded(
            f"this adds {trials:,} trials, and the sweeps of {owner} that have not ended have {planned:,}; together at "
            f"most {limits.open_trials:,} are allowed. Submit a smaller sweep, or wait for one to end"
        )
    stored = 0 if limits.stored_bytes is None else _stored_bytes(session, owner)
    if limits.stored_bytes is not None and stored >= limits.stored_bytes:
        raise QuotaExceeded(
            f"the checkpoints of {owner} take {stored:,} bytes, of {limits.stored_bytes:,} allowed; keep fewer of "
            "them, or ask an administrator for more"
        )


def _stored_bytes(session: Session, owner: str) -> int:
    query = select(func.sum(TrialCheckpoint.size)).join(Trial, Trial.id == TrialCheckpoint.trial_id)
    query = query.join(Sweep, Sweep.id == Trial.sweep_id)
    return int(session.scalar(query.where(Sweep.owner == owner, TrialCheckpoint.removed_at.is_(None))) or 0)


def admit_priority(session: Session, owner: str, priority: int) -> None:
    """Raise QuotaExceeded if the sweeps of an owner may not have so high a priority."""
    most = limits_of(session.get(Owner, owner)).highest_priority
    if most is not None and priority > most:
        raise QuotaExceeded(
            f"the sweeps of {owner} may have a priority of at most {most}; give one that is not above it, not "
            f"{priority}, or ask an administrator for more"
        )


def of_owners(session: Session) -> dict[str, OwnerLimits]:
    """Return the limits of every owner who has a token, by name."""
    return {row.name: limits_of(row) for row in session.scalars(select(Owner))}


def within(session: Session, sweep_id: str, waiting: Sequence[AnyTrial]) -> list[AnyTrial]:
    """Return the first of a sweep's waiting trials, as many as may run beside those that run already.

    ``max_parallel`` of the sweep bounds them, and the number of trials that its owner may run.
    """
    query = select(Sweep.owner, Sweep.max_parallel, Owner.running_trials)
    query = query.outerjoin(Owner, Owner.name == Sweep.owner).where(Sweep.id == sweep_id)
    row = session.execute(query).one_or_none()
    if row is None or (row[1] is None and row[2] is None):
        return list(waiting)
    owner, own_most, most_of_owner = row
    running = select(func.count()).select_from(Trial).where(Trial.state == "running")
    left = len(waiting)
    if own_most is not None:
        left = min(left, own_most - (session.scalar(running.where(Trial.sweep_id == sweep_id)) or 0))
    if most_of_owner is not None:
        of_owner = running.join(Sweep, Sweep.id == Trial.sweep_id).where(Sweep.owner == owner)
        left = min(left, most_of_owner - (session.scalar(of_owner) or 0))
    return list(waiting[: max(0, left)])
