"""Which MLflow run belongs to each sweep and trial, and what MLflow lacks of it. A subject is a sweep or a trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from service.states import SWEEP_OPEN
from service.store.tables import OutboxEntry, Projection, Sweep


def get(session: Session, subject_id: str) -> Projection | None:
    """Return the row with the MLflow run of a sweep or trial; None if no run of it is known."""
    return session.get(Projection, subject_id)


def put(session: Session, subject_id: str, experiment_id: str, run_id: str, *, deleted: bool = False) -> Projection:
    """Store the MLflow experiment and run of a sweep or trial, replacing those it had, and return the row.

    Args:
        session: A session in a write transaction.
        subject_id: The sweep or trial.
        experiment_id: The experiment.
        run_id: The run.
        deleted: Whether the run was deleted in MLflow.
    """
    row = Projection(subject_id=subject_id, experiment_id=experiment_id, run_id=run_id, deleted=deleted, lacks=None)
    return session.merge(row)


def of_sweep(session: Session, sweep_id: str) -> dict[str, Projection]:
    """Return the rows of a sweep and of those of its trials that have a run, by the id of the sweep or trial."""
    return {p.subject_id: p for p in session.scalars(select(Projection).where(_of(sweep_id)))}


def drop(session: Session, sweep_id: str) -> None:
    """Delete the rows of a sweep and of its trials whose run is not deleted; the runs in MLflow stay."""
    session.execute(delete(Projection).where(_of(sweep_id), ~Projection.deleted))


def drop_one(session: Session, subject_id: str) -> None:
    """Delete the row of one sweep or trial; the run in MLflow stays."""
    session.execute(delete(Projection).where(Projection.subject_id == subject_id))


def remove_all(session: Session, sweep_id: str) -> None:
    """Delete the rows of a sweep and of its trials, also of runs that are deleted; the runs in MLflow stay."""
    session.execute(delete(Projection).where(_of(sweep_id)))


def experiments_of(session: Session, sweep_id: str) -> list[str]:
    """Return the ids of the experiments in which a sweep and its trials have runs, as far as this table knows."""
    query = select(Projection.experiment_id).where(_of(sweep_id)).distinct()
    return list(session.scalars(query.order_by(Projection.experiment_id)))


def experiments(session: Session) -> Sequence[str]:
    """Return the ids of the experiments in which the runs lie that are not deleted, as far as this table knows."""
    query = select(Projection.experiment_id).where(~Projection.deleted).distinct()
    return session.scalars(query.order_by(Projection.experiment_id)).all()


def sweeps_in(session: Session, experiment_id: str) -> dict[str, bool]:
    """Return the sweeps that have a run in an experiment, their own or a trial's, which is not deleted.

    Returns:
        By the sweep's id, whether more is to be written of it: it has not ended, or has entries in the outbox.
    """
    query = select(Projection.subject_id).where(Projection.experiment_id == experiment_id, ~Projection.deleted)
    found = {subject_id.partition("-")[0] for subject_id in session.scalars(query)}
    unfinished = set(session.scalars(select(Sweep.id).where(Sweep.state.in_(SWEEP_OPEN))))
    unfinished |= set(session.scalars(select(OutboxEntry.sweep_id).distinct()))
    return {sweep_id: sweep_id in unfinished for sweep_id in sorted(found)}


def page(session: Session, *, deleted: bool, after: str, limit: int) -> list[Projection]:
    """Return the first ``limit`` rows whose subject comes after ``after``, of deleted runs or of the others."""
    query = select(Projection).where(Projection.deleted == deleted, Projection.subject_id > after)
    return list(session.scalars(query.order_by(Projection.subject_id).limit(limit)))


def mark_deleted(session: Session, subject_ids: Iterable[str], *, deleted: bool = True) -> None:
    """Store whether the runs of sweeps or trials are deleted. One that is no longer deleted lacks nothing any more."""
    values = {"deleted": True} if deleted else {"deleted": False, "lacks": None}
    session.execute(update(Projection).where(Projection.subject_id.in_(list(subject_ids))).values(**values))


def mark_sweep_deleted(session: Session, sweep_id: str) -> None:
    """Store that the runs of a sweep and of all its trials are deleted."""
    session.execute(update(Projection).where(_of(sweep_id)).values(deleted=True))


def deleted_in(session: Session, experiment_id: str) -> Sequence[str]:
    """Return the ids of the deleted runs of an experiment."""
    query = select(Projection.run_id).where(Projection.experiment_id == experiment_id, Projection.deleted)
    return session.scalars(query).all()


def note_lack(session: Session, subject_id: str, lacks: str | None) -> None:
    """Store what MLflow lacks of a sweep or trial, and why; None if nothing. Do nothing if it has no row."""
    session.execute(update(Projection).where(Projection.subject_id == subject_id).values(lacks=lacks))


def note_model(session: Session, subject_id: str, model_id: str) -> None:
    """Store which logged model in MLflow is that of a trial's best checkpoint. Do nothing if the trial has no row."""
    session.execute(update(Projection).where(Projection.subject_id == subject_id).values(model_id=model_id))


def lacking(session: Session, since: float) -> dict[str, str]:
    """Return what MLflow lacks, by the id of the sweep or trial.

    Args:
        session: A session.
        since: Sweeps that ended before this time, in seconds since the Unix epoch, are left out, with their trials.
    """
    rows = session.scalars(select(Projection).where(Projection.lacks.is_not(None)).order_by(Projection.subject_id))
    found = {row.subject_id: row.lacks or "" for row in rows}
    of_sweeps = {subject_id.partition("-")[0] for subject_id in found}
    recent = or_(Sweep.ended_at.is_(None), Sweep.ended_at >= since)
    shown = set(session.scalars(select(Sweep.id).where(Sweep.id.in_(of_sweeps), recent)))
    return {subject_id: lacks for subject_id, lacks in found.items() if subject_id.partition("-")[0] in shown}


def incomplete(session: Session, subject_ids: Sequence[str]) -> set[str]:
    """Return those of some sweeps and trials of which MLflow lacks something although nobody has deleted their runs."""
    found = (Projection.subject_id.in_(subject_ids), Projection.lacks.is_not(None), ~Projection.deleted)
    return set(session.scalars(select(Projection.subject_id).where(*found)))


def of_view(session: Session, sweep_id: str) -> tuple[Projection | None, dict[str, str]]:
    """Return the run of a sweep, None if there is none, and what MLflow lacks of the sweep and of its trials.

    What it lacks is by the id of the sweep or trial, the sweep first.
    """
    of_trials = and_(Projection.subject_id.startswith(f"{sweep_id}-"), Projection.lacks.is_not(None))
    query = select(Projection).where(or_(Projection.subject_id == sweep_id, of_trials))
    found = {row.subject_id: row for row in session.scalars(query.order_by(Projection.subject_id))}
    return found.get(sweep_id), {subject: row.lacks for subject, row in found.items() if row.lacks is not None}


def _of(sweep_id: str) -> ColumnElement[bool]:
    return or_(Projection.subject_id == sweep_id, Projection.subject_id.startswith(f"{sweep_id}-"))
