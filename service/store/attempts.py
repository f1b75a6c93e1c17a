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

from service.store.tables import Attempt, Pack, Trial

LOST = "lost"
"""The outcome of an attempt whose runner ended, or fell silent for good, before it reported the trial's end."""
FAILED = "failed"
"""The outcome of an attempt that the runner reports as failed."""
PREEMPTED = "preemption"
"""The cause of a paused attempt whose trial had to make room for others. It counts for nothing."""
MOVED = "moved"
"""The outcome of an attempt whose trial goes on in another pack: the runner has written a checkpoint and given it away,
or the runner ended before it had taken the trial. Nobody is charged."""
FailureDomain = Literal["process", "memory", "preemption", "cluster"]


def of_trial(session: Session, trial_id: str) -> list[Attempt]:
    """Return all attempts of a trial in order of number; empty if it has never been in a pack."""
    return list(session.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.number)))


def open_of_pack(session: Session, pack_id: str) -> dict[str, Attempt]:
    """Return the attempts of a pack that have not ended, by the trial's id."""
    query = select(Attempt).where(Attempt.pack_id == pack_id, Attempt.ended_at.is_(None)).order_by(Attempt.trial_id)
    return {attempt.trial_id: attempt for attempt in session.scalars(query)}


def open_of_packs(session: Session, pack_ids: Iterable[str]) -> dict[str, set[str]]:
    """Return the ids of the trials of some packs whose attempts have not ended, by the pack's id."""
    found: dict[str, set[str]] = {pack_id: set() for pack_id in pack_ids}
    query = select(Attempt.pack_id, Attempt.trial_id).where(Attempt.pack_id.in_(found), Attempt.ended_at.is_(None))
    for pack_id, trial_id in session.execute(query):
        found[pack_id].add(trial_id)
    return found


def count_of_pack(session: Session, pack_id: str) -> int:
    """Return how many trials a pack has had: those that it was planned with, and those that it was given later."""
    return session.scalar(select(func.count()).select_from(Attempt).where(Attempt.pack_id == pack_id)) or 0


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


def packs_of(session: Session, trial_ids: Iterable[str]) -> dict[str, set[str]]:
    """Return the ids of all packs in which each trial has ever been, by the trial's id."""
    found: dict[str, set[str]] = {}
    query = select(Attempt.trial_id, Attempt.pack_id).where(Attempt.trial_id.in_(list(trial_ids)))
    for trial_id, pack_id in session.execute(query):
        found.setdefault(trial_id, set()).add(pack_id)
    return found


def lost_trials(session: Session, trial_ids: Iterable[str]) -> set[str]:
    """Return the ids of those trials that had begun and want to go on, although nobody has paused them.

    Their newest attempt was lost, has failed, or was preempted. A trial that a user had run again has not begun, until
    its next attempt.
    """
    found = histories(session, trial_ids)
    return {trial_id for trial_id, history in found.items() if _was_broken_off(history[-1])}


def _was_broken_off(attempt: Attempt) -> bool:
    return attempt.outcome in (LOST, FAILED, MOVED) or (attempt.outcome == "paused" and attempt.cause == PREEMPTED)


def moved_and_waiting(session: Session, sweep_id: str) -> list[Trial]:
    """Return the waiting trials of a sweep, by number, that are on their way from a pack to another one."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == "waiting", Trial.wanted.is_(None))
    query = query.where(Trial.id.in_(select(Attempt.trial_id).where(Attempt.outcome == MOVED)))
    found = list(session.scalars(query.order_by(Trial.number)))
    newest = histories(session, [trial.id for trial in found])
    return [trial for trial in found if trial.id in newest and newest[trial.id][-1].outcome == MOVED]


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


def number_of_pack(session: Session, pack: Pack) -> int:
    """Return the highest number among the attempts with which a pack was planned; 0 if it has none.

    It makes the name of the pack's runner unique. The attempts of trials that the pack is given later do not count.
    """
    query = select(func.max(Attempt.number)).where(Attempt.pack_id == pack.id, Attempt.trial_id.in_(pack.trial_ids))
    return session.scalar(query) or 0


def end(attempt: Attempt, outcome: str, cause: str | None, reason: str | None, log: str | None = None) -> None:
    """Close an attempt at the present time.

    Args:
        attempt: The attempt, in a session in a write transaction.
        outcome: How it ended: as the runner reports it (``succeeded``, ``failed``, ``pruned``, ``cancelled``,
            ``paused`` or ``moved``), or ``lost``.
        cause: What a failed attempt needs (``workers.protocol.Cause``), the failure domain of a lost one, ``PREEMPTED``
            for a paused one that had to make room, else None.
        reason: Why it ended, for a person to read; None if there is nothing to say.
        log: The last lines of what was logged about a failure; None if there are none.
    """
    attempt.outcome, attempt.cause, attempt.reason, attempt.ended_at = outcome, cause, reason, time.time()
    attempt.log = log
