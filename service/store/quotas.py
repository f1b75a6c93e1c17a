"""What an owner may still have: sweeps to submit, and trials to run. The caller commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.states import SWEEP_OPEN
from service.store.errors import QuotaExceeded
from service.store.owners import limits_of
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


def spent(session: Session) -> set[str]:
    """Return the ids of the open sweeps whose owners may run no further trial beside those that run."""
    query = select(Owner.name, Owner.running_trials).where(Owner.running_trials.is_not(None))
    limits = {name: int(most or 0) for name, most in session.execute(query)}
    if not limits:
        return set()
    mine = select(Sweep.owner, func.count()).select_from(Trial).join(Sweep, Sweep.id == Trial.sweep_id)
    mine = mine.where(Trial.state == "running", Sweep.owner.in_(limits)).group_by(Sweep.owner)
    running = dict(session.execute(mine).all())
    full = [name for name, most in limits.items() if running.get(name, 0) >= most]
    sweeps = select(Sweep.id).where(Sweep.owner.in_(full), Sweep.state.in_(SWEEP_OPEN))
    return set(session.scalars(sweeps)) if full else set()


def within(session: Session, sweep_id: str, waiting: Sequence[AnyTrial]) -> list[AnyTrial]:
    """Return the first of a sweep's waiting trials, as many as its owner may run beside those that run already."""
    query = select(Owner.name, Owner.running_trials).join(Sweep, Sweep.owner == Owner.name)
    row = session.execute(query.where(Sweep.id == sweep_id, Owner.running_trials.is_not(None))).one_or_none()
    if row is None:
        return list(waiting)
    owner, most = row[0], int(row[1] or 0)
    mine = select(func.count()).select_from(Trial).join(Sweep, Sweep.id == Trial.sweep_id)
    running = session.scalar(mine.where(Sweep.owner == owner, Trial.state == "running")) or 0
    return list(waiting[: max(0, most - running)])
