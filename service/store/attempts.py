"""Attempts: each time that a pack trains a trial.

An attempt is open while its ``ended_at`` is empty. A lost attempt has the failure domain as its ``cause``:

- ``process``: the runner died or could not be reached, and one of its trials may be to blame;
- ``memory``: the machine ran out of memory, and the runner was ended because of that;
- ``preemption``: somebody had Ray end the runner, or its node was drained or lost, so that no trial can be to blame;
- ``cluster``: all of Ray was gone, or the runner had never got its resources.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.tables import Attempt, Trial

LOST = "lost"
"""The outcome of an attempt whose runner ended, or fell silent for good, before it reported the trial's end."""
FAILED = "failed"
"""The outcome of an attempt that the runner reports as failed."""
PREEMPTED = "preemption"
"""The cause of a paused attempt whose trial had to make room for others. It counts for nothing."""
FailureDomain = Literal["process", "memory", "preemption", "cluster"]


def of_trial(session: Session, trial_id: str) -> list[Attempt]:
    """Return all attempts of a trial in order of number; empty if it has never been in a pack."""
    return list(session.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.number)))


def open_of_pack(session: Session, pack_id: str) -> dict[str, Attempt]:
    """Return the attempts of a pack that have not ended, by the trial's id."""
    query = select(Attempt).where(Attempt.pack_id == pack_id, Attempt.ended_at.is_(None)).order_by(Attempt.trial_id)
    return {attempt.trial_id: attempt for attempt in session.scalars(query)}


def histories(session: Session, trial_ids: Iterable[str]) -> dict[str, list[Attempt]]:
    """Return the attempts of each trial that has had one, in order of number, by the trial's id.

    Of a trial that a user had run again, only the attempts since then are returned.
    """
    query = select(Attempt).join(Trial, Trial.id == Attempt.trial_id).where(Attempt.number > Trial.attempts_before)
    query = query.where(Attempt.trial_id.in_(list(trial_ids))).order_by(Attempt.number)
    found: dict[str, list[Attempt]] = {}
    for attempt in session.scalars(query):
        found.setdefault(attempt.trial_id, []).append(attempt)
    return found


def numbers(session: Session, trial_ids: Iterable[str]) -> dict[str, int]:
    """Return the number of the newest attempt of each trial that has ever had one, by the trial's id."""
    query = select(Attempt.trial_id, func.max(Attempt.number)).where(Attempt.trial_id.in_(list(trial_ids)))
    return {trial_id: int(number) for trial_id, number in session.execute(query.group_by(Attempt.trial_id))}


def lost_trials(session: Session, trial_ids: Iterable[str]) -> set[str]:
    """Return the ids of those trials that had begun and want to go on, although nobody has paused them.

    Their newest attempt was lost, has failed, or was preempted. A trial that a user had run again has not begun, until
    its next attempt.
    """
    found = histories(session, trial_ids)
    return {trial_id for trial_id, history in found.items() if _was_broken_off(history[-1])}


def _was_broken_off(attempt: Attempt) -> bool:
    return attempt.outcome in (LOST, FAILED) or (attempt.outcome == "paused" and attempt.cause == PREEMPTED)


def with_first_cause(session: Session, trial_id: str, reason: str | None) -> str | None:
    """Return the reason for which a trial fails, with what went wrong first if that was something else.

    Args:
        session: A session.
        trial_id: The trial. Its last attempt has ended.
        reason: Why it fails now; None if there is nothing to say.
    """
    history = histories(session, [trial_id]).get(trial_id, [])
    bad = [attempt for attempt in history if attempt.outcome in (LOST, FAILED) and attempt.reason]
    if not bad or bad[0] is bad[-1] or (reason and str(bad[0].reason) in reason):
        return reason
    first = f"attempt {bad[0].number} was the first to go wrong: {bad[0].reason}"
    return f"{reason}; {first}" if reason else first


def number_of_pack(session: Session, pack_id: str) -> int:
    """Return the highest number among a pack's attempts, which makes its runner's name unique; 0 if it has none."""
    return session.scalar(select(func.max(Attempt.number)).where(Attempt.pack_id == pack_id)) or 0


def end(attempt: Attempt, outcome: str, cause: str | None, reason: str | None, log: str | None = None) -> None:
    """Close an attempt at the present time.

    Args:
        attempt: The attempt, in a session in a write transaction.
        outcome: How it ended: as the runner reports it (``succeeded``, ``failed``, ``pruned``, ``cancelled`` or
            ``paused``), or ``lost``.
        cause: What a failed attempt needs (``workers.protocol.Cause``), the failure domain of a lost one, ``PREEMPTED``
            for a paused one that had to make room, else None.
        reason: Why it ended, for a person to read; None if there is nothing to say.
        log: The last lines of what was logged about a failure; None if there are none.
    """
    attempt.outcome, attempt.cause, attempt.reason, attempt.ended_at = outcome, cause, reason, time.time()
    attempt.log = log
