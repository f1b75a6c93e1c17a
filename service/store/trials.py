"""Trials: creating them, moving them between states, listing and ranking them. The caller commits."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Select, String, and_, any_, func, literal, or_, select
from sqlalchemy.orm import Session

from service import states
from service.states import DELETING, TRIAL_ENDED, TrialState
from service.store import events, outbox, sweeps, trial_order, webhooks
from service.store.errors import NotFound
from service.store.tables import Sweep, Trial
from service.store.trial_order import RankPosition
from workers.spec.ranking import Direction, has_result
from workers.spec.samplers import Observation

TrialVerb = Literal["stop", "cancel"]

_ID = re.compile(r"sw[0-9a-f]{10}-[0-9]{4,6}")


class Result(NamedTuple):
    """What a trial has reached, for a ranking of many."""

    number: int
    params: dict[str, Any]
    objective: float


def id_of(sweep_id: str, number: int) -> str:
    """Return the id of a sweep's trial with this number."""
    return f"{sweep_id}-{number:04d}"


def create(session: Session, sweep: Sweep, first: int, points: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Create waiting trials of a sweep, each with its outbox entry, and return them.

    Args:
        session: A session in a write transaction.
        sweep: The sweep that the trials belong to.
        first: The number of the first trial; the others follow it.
        points: The values of the swept fields for each trial, by path.

    Raises:
        sqlalchemy.exc.IntegrityError: If a trial with one of the numbers exists already.
    """
    created = [
        Trial(id=id_of(sweep.id, number), sweep_id=sweep.id, number=number, params=dict(point), state="waiting")
        for number, point in enumerate(points, first)
    ]
    session.add_all(created)
    session.flush()
    for trial in created:
        outbox.trial_created(session, trial)
    return created


def some(session: Session, trial_ids: Sequence[str]) -> list[Trial]:
    """Return the trials with these ids; those that do not exist are left out."""
    return list(session.scalars(select(Trial).where(Trial.id.in_(trial_ids)))) if trial_ids else []


def ended_after(session: Session, after: tuple[float, str], limit: int) -> list[Trial]:
    """Return the first trials that have ended after another, in order of (ended_at, id).

    Args:
        session: A session.
        after: The (ended_at, id) of the last trial that was returned before; (0, "") for none.
        limit: The largest number of trials to return.
    """
    at, trial_id = after
    later = or_(Trial.ended_at > at, and_(Trial.ended_at == at, Trial.id > trial_id))
    query = select(Trial).where(Trial.state.in_(TRIAL_ENDED), later).order_by(Trial.ended_at, Trial.id)
    return list(session.scalars(query.limit(limit)))


def has_same_end(session: Session, trial: Trial) -> bool:
    """Return whether a trial that was read earlier, when it had ended, has not been run again or deleted since."""
    query = select(Trial.ended_at).where(Trial.id == trial.id, Trial.state.in_(TRIAL_ENDED))
    return trial.ended_at is not None and session.scalar(query) == trial.ended_at


def observations(session: Session, sweep_id: str) -> list[Observation]:
    """Return the trials of a sweep by number, as a sampler learns from them.

    Each has its parameters, its objective so far if it counts as a result, and its place in the order in which trials
    ended, if it has ended.
    """
    columns = Trial.number, Trial.params, Trial.objective, Trial.state, Trial.ended_at
    rows = session.execute(select(*columns).where(Trial.sweep_id == sweep_id).order_by(Trial.number)).all()
    ends = sorted((at or 0.0, number) for number, _, _, state, at in rows if state in TRIAL_ENDED)
    places = {number: place for place, (_, number) in enumerate(ends)}
    return [
        Observation(
            number,
            params,
            value if has_result(state, value) else None,
            state in TRIAL_ENDED,
            places.get(number),
            state == "cancelled",
        )
        for number, params, value, state, _ in rows
    ]


def count(session: Session, sweep_id: str) -> int:
    """Return how many trials of a sweep exist."""
    return session.scalar(select(func.count()).select_from(Trial).where(Trial.sweep_id == sweep_id)) or 0


def get(session: Session, trial_id: str) -> Trial:
    """Return the trial; raise NotFound if there is none with this id, or if this cannot be the id of a trial.

    A trial whose sweep is being deleted is not there any more.
    """
    trial = session.get(Trial, trial_id) if _ID.fullmatch(trial_id) else None
    if trial is None or trial.state == DELETING:
        raise NotFound("trial", trial_id)
    return trial


def move(session: Session, trial: Trial, to: TrialState, reason: str | None = None) -> Trial:
    """Move a trial to another state, and store its times, an event and, if the trial ends, an outbox entry.

    ``reason`` replaces the reason of the state before, also if it is None. A trial that ends loses its ``wanted`` verb.
    One that has ended is moved by ``reopen``.

    Only the controller moves trials. The state of ``trial`` in the session is therefore the current one.

    Raises:
        states.IllegalMove: If the trial's state does not permit the move.
    """
    sweeps.lock(session, trial.sweep_id)
    before, now = trial.state, time.time()
    trial.state = states.move_trial(before, to)  # type: ignore[arg-type]  # a column is plain text
    assert before not in TRIAL_ENDED, "reopen moves trials that have ended"
    trial.reason = reason
    if to == "running" and trial.started_at is None:
        trial.started_at = now
    if to in TRIAL_ENDED:
        trial.ended_at, trial.wanted = now, None
        outbox.trial_ended(session, trial)
        webhooks.trial_ended(session, trial)
    events.record(session, trial.sweep_id, f"trial.{to}", _moved(trial, before), trial.id)
    return trial


def reopen(session: Session, sweep_id: str, ended: Sequence[Trial], reason: str) -> None:
    """Let trials of a sweep wait again that have ended, with events and outbox entries.

    The number of statements does not grow with the number of trials. The messages about the ends of the trials are
    withdrawn from the webhooks that have not got them yet.

    Args:
        session: A session in a write transaction, in which the sweep was locked before the trials were read.
        sweep_id: The sweep.
        ended: The trials.
        reason: Why they wait.

    Raises:
        states.IllegalMove: If the state of one of them does not permit it.
    """
    before = {trial.id: trial.state for trial in ended}
    for trial in ended:
        trial.state = states.move_trial(trial.state, "waiting")  # type: ignore[arg-type]  # a column is plain text
        trial.reason, trial.ended_at = reason, None
    ids = list(before)
    outbox.trials_reopened(session, sweep_id, ids)
    webhooks.withdraw(session, sweep_id, ids)
    moved = [events.NewEvent("trial.waiting", _moved(trial, before[trial.id]), trial.id) for trial in ended]
    events.record_all(session, sweep_id, moved)


def _moved(trial: Trial, before: str) -> dict[str, Any]:
    """Return the facts of the event of a trial that has been moved from the state ``before``."""
    number, step, objective = trial.number, trial.step, trial.objective
    return {"from": before, "number": number, "step": step, "objective": objective, "reason": trial.reason}


def want(session: Session, trial_id: str, verb: TrialVerb) -> Trial:
    """Store a user's verb for the controller to carry out, and return the trial.

    A repeated verb, or stop after cancel, changes nothing; cancel replaces stop.

    Raises:
        NotFound: If there is no such trial.
        states.IllegalMove: If the trial has ended.
    """
    sweeps.lock(session, get(session, trial_id).sweep_id)
    trial = get(session, trial_id)
    session.refresh(trial)
    if trial.state in TRIAL_ENDED:
        raise states.IllegalMove(f"cannot {verb} a trial that is {trial.state}; only one that is waiting or running")
    if trial.wanted not in (verb, "cancel"):
        trial.wanted = verb
        events.record(session, trial.sweep_id, "trial.wanted", {"number": trial.number, "verb": verb}, trial.id)
    return trial


def page(session: Session, sweep_id: str, wanted: Sequence[str] = (), limit: int = 100, after: int = -1) -> list[Trial]:
    """Return one page of a sweep's trials in order of number.

    Args:
        session: A session.
        sweep_id: The sweep that the trials belong to.
        wanted: The states to include; all states if empty.
        limit: The largest number of trials to return.
        after: The number of the last trial of the page before; -1 for the first page.
    """
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
    """Return one page of a sweep's trials in the order of ``workers.spec.ranking``, those without a result last.

    Args:
        session: A session.
        sweep_id: The sweep that the trials belong to.
        direction: Whether a small or a large objective is better.
        wanted: The states to include; all states if empty.
        limit: The largest number of trials to return.
        after: The ``trial_order.position`` of the last trial of the page before; None for the first page.
    """
    query = _in_states(sweep_id, wanted).order_by(*trial_order.by_rank(direction))
    query = query.where(trial_order.ranked_below(after, direction)) if after else query
    return list(session.scalars(query.limit(limit)))


def results(session: Session, sweep_id: str, direction: Direction) -> list[Result]:
    """Return the results of a sweep's trials, the best first. Trials without a result are left out."""
    query = select(Trial.number, Trial.params, Trial.objective)
    query = query.where(Trial.sweep_id == sweep_id, trial_order.with_result())
    return [Result(*row) for row in session.execute(query.order_by(*trial_order.by_rank(direction)))]


def of_numbers(session: Session, sweep_id: str, numbers: Sequence[int]) -> dict[int, Trial]:
    """Return the trials of a sweep that have these numbers, by number."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.number.in_(numbers))
    return {trial.number: trial for trial in session.scalars(query)}


def best(session: Session, sweep_id: str, direction: Direction) -> Trial | None:
    """Return the trial with the best objective so far, the first of equals; None if no trial has a result.

    Trials that were pruned count, and those that failed or were cancelled do not.
    """
    query = select(Trial).where(Trial.sweep_id == sweep_id, trial_order.with_result())
    return session.scalar(query.order_by(*trial_order.by_rank(direction)).limit(1))


def tally(session: Session, sweep_ids: Sequence[str]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return, by sweep id and state, the number of trials and the sum of the highest steps that they have reported.

    States without trials are left out; a sweep without trials has an empty dict.
    """
    query = select(Trial.sweep_id, Trial.state, func.count(), func.coalesce(func.sum(Trial.step), 0))
    found: dict[str, dict[str, tuple[int, int]]] = {sweep_id: {} for sweep_id in sweep_ids}
    rows = session.execute(query.where(in_sweeps(session, sweep_ids)).group_by(Trial.sweep_id, Trial.state))
    for sweep_id, state, count, steps in rows:
        found[sweep_id][state] = (count, int(steps))
    return found


def in_sweeps(session: Session, sweep_ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a trial belongs to one of these sweeps.

    PostgreSQL takes the ids as one array: a parameter for each would make a statement of its own for every number of
    ids, which SQLAlchemy and psycopg would write and parse anew at every call.
    """
    if session.get_bind().dialect.name == "postgresql":
        return Trial.sweep_id == any_(literal(list(sweep_ids), ARRAY(String)))
    return Trial.sweep_id.in_(sweep_ids)


def planned_steps_of_ended(session: Session, sweep_ids: Sequence[str]) -> dict[str, int]:
    """Return, by sweep id, the steps that the ended trials had before them at first, in sweeps over training steps."""
    steps = func.coalesce(func.sum(Trial.params["training.steps"].as_integer()), 0)
    query = select(Trial.sweep_id, steps).where(Trial.sweep_id.in_(sweep_ids), Trial.state.in_(TRIAL_ENDED))
    return {sweep_id: int(total) for sweep_id, total in session.execute(query.group_by(Trial.sweep_id))}


def added_steps_to_come(session: Session, sweep_ids: Sequence[str]) -> dict[str, int]:
    """Return, by sweep id, the steps that users have added to trials that have not ended; sweeps without are left out.

    A trial that has ended has done them, and they are among its steps.
    """
    query = select(Trial.sweep_id, func.sum(Trial.added_steps)).where(in_sweeps(session, sweep_ids))
    query = query.where(Trial.state.in_(("waiting", "running")), Trial.added_steps > 0)
    return {sweep_id: int(total) for sweep_id, total in session.execute(query.group_by(Trial.sweep_id))}


def counts(session: Session) -> dict[str, int]:
    """Return the number of trials in each state, over all sweeps; a state without trials is left out."""
    rows = session.execute(select(Trial.state, func.count()).where(Trial.state != DELETING).group_by(Trial.state))
    return dict(rows.all())


def _in_states(sweep_id: str, wanted: Sequence[str]) -> Select[Trial]:
    query = select(Trial).where(Trial.sweep_id == sweep_id)
    return query.where(Trial.state.in_(wanted)) if wanted else query
