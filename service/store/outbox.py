"""What MLflow has yet to be told: entries in order, deleted once told, rebuilt from the tables where MLflow forgot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import projections, reports
from service.store.tables import OutboxEntry, Sweep, Trial


def add(session: Session, sweep_id: str, kind: str, payload: dict[str, Any], trial_id: str | None = None) -> None:
    session.add(OutboxEntry(sweep_id=sweep_id, trial_id=trial_id, kind=kind, payload=payload))


def oldest(session: Session, limit: int, skip: Sequence[str] = ()) -> list[OutboxEntry]:
    """The first entries in order, those of the sweeps in ``skip`` left out."""
    query = select(OutboxEntry).order_by(OutboxEntry.id).limit(limit)
    return list(session.scalars(query.where(OutboxEntry.sweep_id.not_in(skip)) if skip else query))


def remove(session: Session, ids: Sequence[int]) -> None:
    session.execute(delete(OutboxEntry).where(OutboxEntry.id.in_(ids)))


def remove_all(session: Session, sweep_id: str) -> None:
    session.execute(delete(OutboxEntry).where(OutboxEntry.sweep_id == sweep_id))


def size(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(OutboxEntry)) or 0


def refill(session: Session, sweep_id: str) -> None:
    """Forget what MLflow was told of a sweep and put all of it into the outbox again."""
    sweep = session.get_one(Sweep, sweep_id)
    projections.drop(session, sweep_id)
    remove_all(session, sweep_id)
    add(session, sweep_id, "sweep", {"name": sweep.name, "at": sweep.created_at})
    for trial in session.scalars(select(Trial).where(Trial.sweep_id == sweep_id).order_by(Trial.number)):
        _refill_trial(session, trial)
    if sweep.state in SWEEP_ENDED:
        add(session, sweep_id, "ended", {"state": sweep.state, "reason": sweep.reason, "at": sweep.ended_at})


def _refill_trial(session: Session, trial: Trial) -> None:
    add(session, trial.sweep_id, "trial", {"number": trial.number}, trial.id)
    for report in reports.of_trial(session, trial.id):
        payload = {"step": report.step, "values": report.values, "at": report.at}
        add(session, trial.sweep_id, "metrics", payload, trial.id)
    for checkpoint in reports.checkpoints(session, trial.id):
        payload = {"step": checkpoint.step, "path": checkpoint.path, "best": checkpoint.best}
        add(session, trial.sweep_id, "checkpoint", payload, trial.id)
    if trial.state in TRIAL_ENDED:
        payload = {"state": trial.state, "reason": trial.reason, "at": trial.ended_at}
        add(session, trial.sweep_id, "ended", payload, trial.id)
