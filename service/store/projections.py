"""Which MLflow run belongs to each sweep and trial. A subject is a sweep or a trial."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from service.store.tables import Projection


def get(session: Session, subject_id: str) -> Projection | None:
    """Return the row with the MLflow run of a sweep or trial; None if no run of it is known."""
    return session.get(Projection, subject_id)


def put(session: Session, subject_id: str, experiment_id: str, run_id: str) -> None:
    """Store the MLflow experiment and run of a sweep or trial, replacing those it had."""
    session.merge(Projection(subject_id=subject_id, experiment_id=experiment_id, run_id=run_id))


def of_sweep(session: Session, sweep_id: str) -> dict[str, Projection]:
    """Return the rows of a sweep and of those of its trials that have a run, by the id of the sweep or trial."""
    return {p.subject_id: p for p in session.scalars(select(Projection).where(_of(sweep_id)))}


def drop(session: Session, sweep_id: str) -> None:
    """Delete the rows of a sweep and of its trials; the runs in MLflow stay."""
    session.execute(delete(Projection).where(_of(sweep_id)))


def sweeps(session: Session) -> Sequence[str]:
    """Return the ids of the sweeps that have a run of their own in MLflow, as far as this table knows."""
    return session.scalars(select(Projection.subject_id).where(~Projection.subject_id.contains("-"))).all()


def _of(sweep_id: str) -> ColumnElement[bool]:
    return or_(Projection.subject_id == sweep_id, Projection.subject_id.startswith(f"{sweep_id}-"))
