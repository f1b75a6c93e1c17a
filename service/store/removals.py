"""Sweeps that users have deleted: hidden at once, and then removed piece by piece. The caller commits.

``begin`` hides the sweep in one short transaction: from then on every query answers as if there were no such sweep, and
its checkpoints count no more. What takes long follows in pieces, each of which may be interrupted and repeated: the
rows, the files, and the runs in MLflow. The row of the deletion says what is left to do, so a new controller goes on.

What was started before may come late: a runner that had been given up writes a checkpoint, a call to MLflow is carried
out after all. So files and runs are looked at once more after ``SETTLE_SECONDS``.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from service import states
from service.states import DELETING
from service.store import outbox, pack_lines, projections, sweeps, tags
from service.store.tables import (
    Attempt,
    Event,
    IdempotencyKey,
    Pack,
    RemovedSweep,
    Sweep,
    Trial,
    TrialCheckpoint,
    TrialReport,
    WebhookMessage,
)

SETTLE_SECONDS = 120.0
"""So long after a deletion, files and runs are looked at a last time."""
TRIALS, EVENTS = 20, 5_000
"""How many trials with their rows, or how many events, one call of ``delete_rows`` deletes; or lines of some packs."""


def begin(session: Session, sweep_id: str) -> None:
    """Hide a sweep that has ended from everybody, for the controller to remove it.

    Raises:
        NotFound: If there is no such sweep, or if it was deleted before.
        states.IllegalMove: If the sweep has not ended.
    """
    sweep = sweeps.get_locked(session, sweep_id)
    to = states.after_verb(sweep.state, "delete")  # type: ignore[arg-type]  # a column is plain text
    of_sweep = select(Trial.id).where(Trial.sweep_id == sweep_id)
    there = (TrialCheckpoint.trial_id.in_(of_sweep), TrialCheckpoint.removed_at.is_(None))
    folders = {Path(path).parent.parent for path in session.scalars(select(TrialCheckpoint.path).where(*there))}
    now = time.time()
    session.add(
        RemovedSweep(
            id=sweep_id,
            owner=sweep.owner,
            at=now,
            # a folder of another name is not one that a runner of this sweep has made
            folders=sorted(str(folder) for folder in folders if folder.name == sweep_id),
            experiments=projections.experiments_of(session, sweep_id),
        )
    )
    sweep.state = to
    session.execute(update(TrialCheckpoint).where(*there).values(removed_at=now))
    session.execute(update(Trial).where(Trial.sweep_id == sweep_id).values(state=DELETING))
    session.execute(delete(WebhookMessage).where(WebhookMessage.sweep_id == sweep_id))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.sweep_id == sweep_id))
    _forget_mlflow(session, sweep_id)


def pending(session: Session) -> list[RemovedSweep]:
    """Return the deletions that are not done, the oldest first."""
    query = select(RemovedSweep).where(RemovedSweep.done_at.is_(None))
    return list(session.scalars(query.order_by(RemovedSweep.at, RemovedSweep.id)))


def is_due(removed: RemovedSweep, seen_at: float | None) -> bool:
    """Return whether files or runs of a deleted sweep have to be looked at now.

    Args:
        removed: The deletion.
        seen_at: When they were last seen to be gone; None if they were not.
    """
    last_look = removed.at + SETTLE_SECONDS
    return seen_at is None or (seen_at < last_look <= time.time())


def delete_rows(session: Session, sweep_id: str) -> bool:
    """Delete some of the rows of a deleted sweep, in the order that foreign keys ask for.

    Returns:
        Whether there are more. Of a sweep without further rows, its own row is deleted too, and that is noted.
    """
    ids = list(session.scalars(select(Trial.id).where(Trial.sweep_id == sweep_id).limit(TRIALS)))
    if ids:
        session.execute(delete(TrialReport).where(TrialReport.trial_id.in_(ids)))
        session.execute(delete(TrialCheckpoint).where(TrialCheckpoint.trial_id.in_(ids)))
        session.execute(delete(Attempt).where(Attempt.trial_id.in_(ids)))
        session.execute(delete(Trial).where(Trial.id.in_(ids)))
        return True
    first = session.scalar(select(func.min(Event.seq)).where(Event.sweep_id == sweep_id))
    if first is not None:
        session.execute(delete(Event).where(Event.sweep_id == sweep_id, Event.seq < first + EVENTS))
        return True
    if pack_lines.remove_some(session, sweep_id):
        return True
    # what was written of it while it was being hidden
    _forget_mlflow(session, sweep_id)
    session.execute(delete(Pack).where(Pack.sweep_id == sweep_id))
    tags.remove_all(session, sweep_id)
    session.execute(delete(Sweep).where(Sweep.id == sweep_id, Sweep.state == DELETING))
    _note(session, sweep_id, rows_at=time.time())
    return False


def note_files_gone(session: Session, sweep_id: str) -> None:
    """Store that none of the folders of a deleted sweep is there any more."""
    _note(session, sweep_id, files_at=time.time())


def note_runs_gone(session: Session, sweep_id: str) -> None:
    """Store that MLflow has none of the runs of a deleted sweep but those that the model registry needs."""
    projections.remove_all(session, sweep_id)  # one may have been stored at the moment of the deletion
    _note(session, sweep_id, runs_at=time.time())


def finish(session: Session) -> None:
    """Note the deletions of which all has been gone for ``SETTLE_SECONDS`` as done."""
    since = RemovedSweep.at + SETTLE_SECONDS
    gone = (RemovedSweep.rows_at.is_not(None), RemovedSweep.files_at >= since, RemovedSweep.runs_at >= since)
    session.execute(update(RemovedSweep).where(RemovedSweep.done_at.is_(None), *gone).values(done_at=time.time()))


def is_finishable(removed: RemovedSweep) -> bool:
    """Return whether ``finish`` would note a deletion as done."""
    last_look = removed.at + SETTLE_SECONDS
    seen = (removed.files_at, removed.runs_at)
    return removed.rows_at is not None and all(at is not None and at >= last_look for at in seen)


def deleted(session: Session, sweep_ids: Collection[str]) -> set[str]:
    """Return those of some ids that are the ids of sweeps that were deleted."""
    return set(session.scalars(select(RemovedSweep.id).where(RemovedSweep.id.in_(sweep_ids))))


def _forget_mlflow(session: Session, sweep_id: str) -> None:
    outbox.remove_all(session, sweep_id)
    projections.remove_all(session, sweep_id)


def _note(session: Session, sweep_id: str, **values: float) -> None:
    session.execute(update(RemovedSweep).where(RemovedSweep.id == sweep_id).values(**values))
