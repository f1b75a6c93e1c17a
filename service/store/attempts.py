"""Attempts: each time that a pack trains a trial.

An attempt is open while its ``ended_at`` is empty. A lost attempt has the failure domain as its ``cause``: ``process``
if the runner died or could not be reached, ``cluster`` if all of Ray was gone or somebody had Ray end the runner, so
that no trial can be to blame.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.tables import Attempt

LOST = "lost"
"""The outcome of an attempt whose runner ended, or fell silent for good, before it reported the trial's end."""
FailureDomain = Literal["process", "cluster"]


def of_trial(session: Session, trial_id: str) -> list[Attempt]:
    """Return all attempts of a trial in order of number; empty if it has never been in a pack."""
    return list(session.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.number)))


def open_of_pack(session: Session, pack_id: str) -> dict[str, Attempt]:
    """Return the attempts of a pack that have not ended, by the trial's id."""
    query = select(Attempt).where(Attempt.pack_id == pack_id, Attempt.ended_at.is_(None)).order_by(Attempt.trial_id)
    return {attempt.trial_id: attempt for attempt in session.scalars(query)}


def latest(session: Session, trial_ids: Iterable[str]) -> dict[str, Attempt]:
    """Return the newest attempt of each trial that has had one, by the trial's id."""
    query = select(Attempt).where(Attempt.trial_id.in_(list(trial_ids))).order_by(Attempt.number)
    return {attempt.trial_id: attempt for attempt in session.scalars(query)}


def lost_trials(session: Session, trial_ids: Iterable[str]) -> set[str]:
    """Return the ids of those trials whose newest attempt was lost."""
    return {trial_id for trial_id, attempt in latest(session, trial_ids).items() if attempt.outcome == LOST}


def number_of_pack(session: Session, pack_id: str) -> int:
    """Return the highest number among a pack's attempts, which makes its runner's name unique; 0 if it has none."""
    return session.scalar(select(func.max(Attempt.number)).where(Attempt.pack_id == pack_id)) or 0


def end(attempt: Attempt, outcome: str, cause: str | None, reason: str | None) -> None:
    """Close an attempt at the present time.

    Args:
        attempt: The attempt, in a session in a write transaction.
        outcome: How it ended: as the runner reports it (``succeeded``, ``failed``, ``pruned``, ``cancelled`` or
            ``paused``), or ``lost``.
        cause: ``user`` or ``infrastructure`` for a failed attempt, the failure domain for a lost one, else None.
        reason: Why it ended, for a person to read; None if there is nothing to say.
    """
    attempt.outcome, attempt.cause, attempt.reason, attempt.ended_at = outcome, cause, reason, time.time()
