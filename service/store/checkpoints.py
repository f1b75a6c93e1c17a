"""Records of the complete checkpoints in the checkpoint store."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import TrialCheckpoint


def add(session: Session, checkpoint: TrialCheckpoint) -> bool:
    """Store a checkpoint's record.

    If the step is recorded already, its path is replaced, its objective stays, and it is marked as best if it was so
    before or is so now.

    Returns:
        True if the record is new, or is now marked as best and was not so before.
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
    """Return the checkpoint of a trial that is wanted; None if there is none.

    Args:
        session: A session.
        trial_id: The trial.
        which: ``last`` for the checkpoint with the highest step, ``best`` for the highest step among those that were
            the trial's best by the objective when they were written.
    """
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id)
    if which == "best":
        query = query.where(TrialCheckpoint.best)
    return session.scalar(query.order_by(TrialCheckpoint.step.desc()).limit(1))
