"""Records of the complete checkpoints in the checkpoint store, and how many bytes they take."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from service.store.tables import Trial, TrialCheckpoint

_THERE: ColumnElement[bool] = TrialCheckpoint.removed_at.is_(None)


def add(session: Session, checkpoint: TrialCheckpoint) -> bool:
    """Store a checkpoint's record.

    If the step is recorded already, its path is replaced, and its size if that is known; it counts as being there
    again. Its objective stays, and it is marked as best if it was so before or is so now.

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
    known.size, known.removed_at = checkpoint.size or known.size, None
    return changed


def of_trial(session: Session, trial_id: str) -> list[TrialCheckpoint]:
    """Return all checkpoints of a trial in order of step."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id)
    return list(session.scalars(query.order_by(TrialCheckpoint.step)))


def at_steps(session: Session, trial_id: str, steps: Collection[int]) -> list[TrialCheckpoint]:
    """Return the checkpoints of a trial at some steps, also those that were removed; unknown ones are left out."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id, TrialCheckpoint.step.in_(steps))
    return list(session.scalars(query))


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


def note_kept(session: Session, trial_id: str, step: int, kept: Collection[int], at: float) -> None:
    """Store which checkpoints of a trial were on the disk when that of ``step`` was written: those of ``kept``."""
    query = update(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id, TrialCheckpoint.step <= step, _THERE)
    session.execute(query.where(TrialCheckpoint.step.not_in(kept)).values(removed_at=at))


def update_rows(session: Session, changed: Sequence[TrialCheckpoint]) -> None:
    """Store what was changed in rows that were read in an earlier transaction."""
    for row in changed:
        session.merge(row)


def there(session: Session, trial_ids: Sequence[str]) -> dict[str, list[TrialCheckpoint]]:
    """Return the checkpoints of some trials that are on the disk, as far as is known, by trial and in order of step."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id.in_(trial_ids), _THERE)
    found: dict[str, list[TrialCheckpoint]] = {}
    for row in session.scalars(query.order_by(TrialCheckpoint.step)):
        found.setdefault(row.trial_id, []).append(row)
    return found


def bytes_of_sweeps(session: Session, sweep_ids: Sequence[str]) -> dict[str, int]:
    """Return how many bytes the checkpoints of some sweeps take, by sweep; one without checkpoints is left out."""
    query = select(Trial.sweep_id, func.sum(TrialCheckpoint.size)).join(Trial, Trial.id == TrialCheckpoint.trial_id)
    query = query.where(Trial.sweep_id.in_(sweep_ids), _THERE).group_by(Trial.sweep_id)
    return {sweep_id: int(size or 0) for sweep_id, size in session.execute(query)}


def total_bytes(session: Session) -> int:
    """Return how many bytes all checkpoints take."""
    return int(session.scalar(select(func.sum(TrialCheckpoint.size)).where(_THERE)) or 0)
