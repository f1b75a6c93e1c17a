"""Sweeps that have ended and go on: trials run again or get more steps, or there are further trials.

The caller commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import states
from service.states import SWEEP_ENDED, AfterEnd, IllegalMove
from service.store import attempts, checkpoints, events, quotas, sweeps, trials
from service.store.sweep_summary import SweepFacts
from service.store.tables import Sweep, Trial

AGAIN = "run again by the user"
"""The reason of a trial that waits because it is run again."""
BROKEN_OFF = ("stopped", "cancelled")
"""The states of sweeps that may have ended before all of their trials existed; those trials never come."""


def rerun(session: Session, sweep_id: str) -> Sweep:
    """Let all failed trials of a sweep wait to be trained again, reopen the sweep if it has ended, and return it.

    A trial goes on from its newest checkpoint, if it has one, and has all of its retries again.

    Raises:
        NotFound: If there is no such sweep.
        states.IllegalMove: If the sweep's state does not permit it, or if none of its trials has failed.
        QuotaExceeded: If the sweep has ended, and its owner has as many open sweeps or trials as they may have.
    """
    sweep = sweeps.get_locked(session, sweep_id)
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == "failed").order_by(Trial.number)
    failed = list(session.scalars(query))
    states.after_verb(sweep.state, "rerun")  # type: ignore[arg-type]  # a column is plain text
    if not failed:
        raise IllegalMove(f"cannot rerun a sweep that is {sweep.state}: none of its trials has failed")
    _reopen(session, sweep, "rerun")
    _run_again(session, failed, AGAIN)
    return sweep


def rerun_trial(session: Session, trial_id: str) -> Trial:
    """Let one failed trial wait to be trained again, reopen its sweep if that has ended, and return the trial.

    Raises:
        NotFound: If there is no such trial.
        states.IllegalMove: If the trial has not failed, or if its sweep's state does not permit it.
        QuotaExceeded: As for ``rerun``.
    """
    sweep = sweeps.get_locked(session, trials.get(session, trial_id).sweep_id)
    trial = trials.get(session, trial_id)
    session.refresh(trial)
    if trial.state != "failed":
        raise IllegalMove(f"cannot rerun a trial that is {trial.state}; only one that has failed")
    _reopen(session, sweep, "rerun")
    _run_again(session, [trial], AGAIN)
    return trial


def train_longer(session: Session, sweep: Sweep, chosen: Mapping[Trial, int], steps: int) -> None:
    """Let trials that have succeeded wait to be trained for more steps, and reopen their sweep if it has ended.

    They go on from their last checkpoints, with all of their retries.

    Args:
        session: A session in a write transaction, in which the sweep was locked and the trials were read.
        sweep: The sweep.
        chosen: The trials, at least one, each with the steps that its point has.
        steps: The steps that each is to have, with those that it has done.

    Raises:
        states.IllegalMove: If the sweep's state does not permit it.
        QuotaExceeded: As for ``rerun``.
    """
    _reopen(session, sweep, "extend")
    for trial, own in chosen.items():
        trial.added_steps = steps - own
    _run_again(session, list(chosen), f"{steps} training steps, asked for by the user")


def extend(
    session: Session, sweep: Sweep, document: dict[str, Any], count: int, facts: SweepFacts, checkpoint_bytes: int
) -> None:
    """Give a sweep further trials, and reopen it if it has ended. The controller creates the trials.

    Args:
        session: A session in a write transaction, in which the sweep was locked and read.
        sweep: The sweep.
        document: Its extended document.
        count: The number of trials that it will have.
        facts: What follows from the document.
        checkpoint_bytes: About how many bytes its checkpoints will take.

    Raises:
        states.IllegalMove: If the sweep's state does not permit it.
        QuotaExceeded: If its owner may not have so many trials more.
    """
    before = trials_to_be(session, sweep)
    _reopen(session, sweep, "extend", count)
    sweep.spec, sweep.trial_count, sweep.checkpoint_bytes = document, count, checkpoint_bytes
    sweep.planned_steps, sweep.steps_vary, sweep.advice = facts.planned_steps, facts.steps_vary, facts.advice
    events.record(session, sweep.id, "sweep.extended", {"trials": count, "added": count - before})


def trials_to_be(session: Session, sweep: Sweep) -> int:
    """Return how many trials a sweep has or will have: of one that was broken off, only those that exist count."""
    return trials.count(session, sweep.id) if sweep.state in BROKEN_OFF else sweep.trial_count


def bytes_to_come(session: Session, sweep: Sweep, checkpoint_bytes: int | None) -> int:
    """Return how many bytes the checkpoint store has yet to find room for if a sweep goes on.

    Args:
        session: A session.
        sweep: The sweep.
        checkpoint_bytes: About how many its checkpoints will take then; None if that is not known.
    """
    used = checkpoints.bytes_of_sweeps(session, [sweep.id]).get(sweep.id, 0)
    allotted = 0 if sweep.state in SWEEP_ENDED else sweep.checkpoint_bytes or 0
    return max(0, (checkpoint_bytes or 0) - max(used, allotted))


def _reopen(session: Session, sweep: Sweep, verb: AfterEnd, count: int | None = None) -> None:
    """Move a sweep to the state that a verb leads to; ``count`` is the number of its trials then, None for the same."""
    to = states.after_verb(sweep.state, verb)  # type: ignore[arg-type]  # a column is plain text
    ended = sweep.state in SWEEP_ENDED
    planned = trials_to_be(session, sweep)
    count = planned if count is None else count
    if ended or count > planned:
        quotas.admit(session, sweep.owner, count if ended else count - planned, new_sweeps=int(ended))
    if planned < sweep.trial_count:
        # trials that were never created are not created now
        sweep.planned_steps = _steps_of(session, sweep, planned)
        sweep.trial_count = planned
        session.flush()  # moving the sweep reads it anew
    if to != sweep.state:
        sweeps.move(session, sweep.id, to)


def _steps_of(session: Session, sweep: Sweep, count: int) -> int:
    """Return the steps of all trials of an ended sweep that exist, ``count`` of them, if none had ended early."""
    if sweep.steps_vary:
        return trials.planned_steps_of_ended(session, [sweep.id]).get(sweep.id, 0)
    return sweep.planned_steps * count // max(1, sweep.trial_count)


def _run_again(session: Session, ended: Sequence[Trial], reason: str) -> None:
    numbers = attempts.numbers(session, [trial.id for trial in ended])
    for trial in ended:
        trial.user_failures = trial.infrastructure_failures = trial.preemptions = 0
        trial.attempts_before = numbers.get(trial.id, 0)
    trials.reopen(session, ended[0].sweep_id, ended, reason)
