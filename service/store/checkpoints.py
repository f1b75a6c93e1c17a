"""Records of the complete checkpoints in the checkpoint store."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import TrialCheckpoint


def add(session: Session, checkpoint: TrialCheckpoint) -> bool:
    """Store a checkpoint's record.

    If the step is recorded already, its path is updated, and it stays marked as best if it was so before.

    Returns:
        True if the record is new, or has become the best one.
    """
    known = session.get(TrialCheckpoint, (checkpoint.trial_id, checkpoint.step))
    if known is None:
        session.add(checkpoint)
        session.flush()
        return True
    changed = checkpoint.best and not known.best
    known.path, known.best = checkpoint.path, known.best or checkpoint.best
    return changed


def of_trial(session: Session, trial_id: str) -> list[TrialCheckpoint]:
    """Return all checkpoints of a trial in order of step."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id)
    return list(session.scalars(query.order_by(TrialCheckpoint.step)))


def find(session: Session, trial_id: str, which: Literal["best", "last"]) -> TrialCheckpoint | None:
    """Return a trial's last checkpoint, or the last one that was its best by the objective; None if it has none."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id)
    if which == "best":
        query = query.where(TrialCheckpoint.best)
    return session.scalar(query.order_by(TrialCheckpoint.step.desc()).limit(1))
