"""Checkpoints that were removed by hand from a trial that waits: what is known of the trial follows the files."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy.orm import Session

from service.store import checkpoints
from service.store.tables import Trial

log = logging.getLogger(__name__)


def take_note(session: Session, trial: Trial) -> str | None:
    """Compare a trial that is about to go on with the checkpoint store.

    If its best checkpoint is gone, the trial loses its objective, or gets that of the best one that is left: no
    objective may stand for a model that nobody has. Nothing is done if this machine does not see the store. Should it
    be that the workers alone see it, the runner reports the best checkpoint again.

    Args:
        session: A session in a write transaction.
        trial: The waiting trial.

    Returns:
        From where the trial goes on, for a person to read, if its newest checkpoint is gone; else None.
    """
    last, best = checkpoints.find(session, trial.id, "last"), checkpoints.find(session, trial.id, "best")
    if last is None or not _sees_store(Path(last.path)):
        return None
    if best is not None and not Path(best.path).is_dir():
        for row in checkpoints.of_trial(session, trial.id):
            row.best = row.best and Path(row.path).is_dir()
        session.flush()
        left = checkpoints.find(session, trial.id, "best")
        trial.objective, trial.best_step = (left.objective, left.step) if left else (None, None)
        log.warning("The best checkpoint of trial %s, %s, is gone; its objective is forgotten", trial.id, best.path)
    folder = Path(last.path)
    there = sorted(path.name for path in folder.parent.glob("step-*"))
    # a runner that was lost may have written newer ones, and removed this one
    if there and there[-1] >= folder.name:
        return None
    goes_on = f"goes on from {folder.parent / there[-1]}" if there else "starts again from the beginning"
    return f"its checkpoint {folder} is gone, so it {goes_on}"


def _sees_store(checkpoint: Path) -> bool:
    """Return whether this machine sees the folder that the checkpoint store is in: ./STORE/SWEEP/TRIAL/STEP."""
    return len(checkpoint.parents) > 3 and checkpoint.parents[3].is_dir()
