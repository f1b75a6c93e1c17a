"""Trials in the store: expanded from their sweep, moved between states, listed and compared."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from service import states
from service.states import TRIAL_ENDED, TrialState
from service.store import events, sweeps
from service.store.errors import NotFound
from service.store.tables import Attempt, OutboxEntry, Sweep, Trial, TrialCheckpoint, TrialReport
from workers.spec.samplers import Observation

Direction = Literal["minimize", "maximize"]
TrialVerb = Literal["stop", "cancel"]
RankPosition = tuple[float | None, int]  # objective and number

_ID = re.compile(r"sw[0-9a-f]{10}-[0-9]{4,6}")


def create(session: Session, sweep: Sweep, first: int, points: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Create waiting trials of a sweep at the given points, numbered from ``first``, and return them."""
    created = [
        Trial(id=f"{sweep.id}-{number:04d}", sweep_id=sweep.id, number=number, params=dict(point), state="waiting")
        for number, point in enumerate(points, first)
    ]
    session.add_all(created)
    session.flush()
    return created


def observations(session: Session, sweep_id: str) -> list[Observation]:
    """Return what a sampler may learn from: the trials of a sweep by number, with their results so far."""
    query = select(Trial.number, Trial.params, Trial.objective, Trial.state).where(Trial.sweep_id == sweep_id)
    rows = session.execute(query.order_by(Trial.number))
    return [Observation(number, params, value, state in TRIAL_ENDED) for number, params, value, state in rows]


def count(session: Session, sweep_id: str) -> int:
    """Return how many trials of a sweep exist."""
    return session.scalar(select(func.count()).select_from(Trial).where(Trial.sweep_id == sweep_id)) or 0


def get(session: Session, trial_id: str) -> Trial:
    """The trial; NotFound where there is none."""
    trial = session.get(Trial, trial_id) if _ID.fullmatch(trial_id) else None
    if trial is None:
        raise NotFound("trial", trial_id)
    return trial


def move(session: Session, trial: Trial, to: TrialState, reason: str | None = None) -> Trial:
    """Move a trial, with its times, its event and, where it ends, the word to MLflow. Raises states.IllegalMove.

    The controller alone moves trials, so the trial's state in the session is the one that counts.
    """
    sweeps.hold(session, trial.sweep_id)
    before, now = trial.state, time.time()
    trial.state = states.move_trial(before, to)  # type: ignore[arg-type]  # a column is plain text
    trial.reason = reason
    if to == "running" and trial.started_at is None:
        trial.started_at = now
    if to in TRIAL_ENDED:
        trial.ended_at, trial.wanted = now, None
        payload = {"state": to, "reason": reason, "at": now}
        session.add(OutboxEntry(sweep_id=trial.sweep_id, trial_id=trial.id, kind="ended", payload=payload))
    data = {"from": before, "number": trial.number, "step": trial.step, "objective": trial.objective, "reason": reason}
    events.record(session, trial.sweep_id, f"trial.{to}", data, trial.id)
    return trial


def want(session: Session, trial_id: str, verb: TrialVerb) -> Trial:
    """Note a user's verb for the controller to carry out. Repeating it, or stop after cancel, changes nothing.

    Raises states.IllegalMove for a trial that has ended.
    """
    sweeps.hold(session, get(session, trial_id).sweep_id)
    trial = get(session, trial_id)
    session.refresh(trial)
    if trial.state in TRIAL_ENDED:
        raise states.IllegalMove(f"cannot {verb} a trial that is {trial.state}; only one that is waiting or running")
    if trial.wanted not in (verb, "cancel"):
        trial.wanted = verb
        events.record(session, trial.sweep_id, "trial.wanted", {"number": trial.number, "verb": verb}, trial.id)
    return trial


def page(session: Session, sweep_id: str, wanted: Sequence[str] = (), limit: int = 100, after: int = -1) -> list[Trial]:
    """Trials by number, those above ``after``, in any of the ``wanted`` states (all if empty)."""
    query = _in_states(sweep_id, wanted).where(Trial.number > after).order_by(Trial.number)
    return list(session.scalars(query.limit(limit)))


def ranked(
    session: Session,
    sweep_id: str,
    direction: Direction,
    wanted: Sequence[str] = (),
    limit: int = 100,
    after: RankPosition | None = None,
) -> list[Trial]:
    """Trials by objective, the best first and those without one last; ``after`` is the place of the last one seen."""
    value = Trial.objective.desc() if direction == "maximize" else Trial.objective.asc()
    query = _in_states(sweep_id, wanted).order_by(Trial.objective.is_(None), value, Trial.number)
    return list(session.scalars((query.where(_worse(after, direction)) if after else query).limit(limit)))


def _in_states(sweep_id: str, wanted: Sequence[str]) -> Select[Trial]:
    query = select(Trial).where(Trial.sweep_id == sweep_id)
    return query.where(Trial.state.in_(wanted)) if wanted else query


def _worse(than: RankPosition, direction: Direction) -> ColumnElement[bool]:
    objective, number = than
    if objective is None:
        return and_(Trial.objective.is_(None), Trial.number > number)
    worse = Trial.objective < objective if direction == "maximize" else Trial.objective > objective
    return or_(worse, and_(Trial.objective == objective, Trial.number > number), Trial.objective.is_(None))


def best(session: Session, sweep_id: str, direction: Direction) -> Trial | None:
    """The trial with the best objective so far, the first of equals; a failed one is never it."""
    value = Trial.objective.desc() if direction == "maximize" else Trial.objective.asc()
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.objective.is_not(None), Trial.state != "failed")
    return session.scalar(query.order_by(value, Trial.number).limit(1))


def tally(session: Session, sweep_ids: Sequence[str]) -> dict[str, dict[str, tuple[int, int]]]:
    """By sweep and state: how many trials, and their steps done in all."""
    query = select(Trial.sweep_id, Trial.state, func.count(), func.coalesce(func.sum(Trial.step), 0))
    found: dict[str, dict[str, tuple[int, int]]] = {sweep_id: {} for sweep_id in sweep_ids}
    rows = session.execute(query.where(Trial.sweep_id.in_(sweep_ids)).group_by(Trial.sweep_id, Trial.state))
    for sweep_id, state, count, steps in rows:
        found[sweep_id][state] = (count, int(steps))
    return found


def counts(session: Session) -> dict[str, int]:
    """How many trials there are in each state, over all sweeps."""
    rows = session.execute(select(Trial.state, func.count()).group_by(Trial.state))
    return dict(rows.all())


def ended_numbers(session: Session, sweep_id: str) -> set[int]:
    """The numbers of the trials that have ended."""
    query = select(Trial.number).where(Trial.sweep_id == sweep_id, Trial.state.in_(TRIAL_ENDED))
    return set(session.scalars(query))


def reports(session: Session, trial_id: str, after: int = -1, limit: int = 10_000) -> list[TrialReport]:
    """What a trial reported at the steps above ``after``, in order."""
    query = select(TrialReport).where(TrialReport.trial_id == trial_id, TrialReport.step > after)
    return list(session.scalars(query.order_by(TrialReport.step).limit(limit)))


def attempts(session: Session, trial_id: str) -> list[Attempt]:
    return list(session.scalars(select(Attempt).where(Attempt.trial_id == trial_id).order_by(Attempt.number)))


def checkpoint(session: Session, trial_id: str, which: Literal["best", "last"]) -> TrialCheckpoint | None:
    """The last checkpoint, or the last that was the best by the objective."""
    query = select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id)
    if which == "best":
        query = query.where(TrialCheckpoint.best)
    return session.scalar(query.order_by(TrialCheckpoint.step.desc()).limit(1))
