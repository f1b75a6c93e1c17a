"""Where sweeps and trials stand in MLflow."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from service.store.tables import Projection


def get(session: Session, subject_id: str) -> Projection | None:
    return session.get(Projection, subject_id)


def put(session: Session, subject_id: str, experiment_id: str, run_id: str) -> None:
    session.merge(Projection(subject_id=subject_id, experiment_id=experiment_id, run_id=run_id))


def of_sweep(session: Session, sweep_id: str) -> dict[str, Projection]:
    """The sweep's own and its trials', by subject."""
    return {p.subject_id: p for p in session.scalars(select(Projection).where(_of(sweep_id)))}


def drop(session: Session, sweep_id: str) -> None:
    """Forget where a sweep and its trials stood."""
    session.execute(delete(Projection).where(_of(sweep_id)))


def sweeps(session: Session) -> Sequence[str]:
    """The sweeps that have a run."""
    return session.scalars(select(Projection.subject_id).where(~Projection.subject_id.contains("-"))).all()


def _of(sweep_id: str) -> ColumnElement[bool]:
    return or_(Projection.subject_id == sweep_id, Projection.subject_id.startswith(f"{sweep_id}-"))
