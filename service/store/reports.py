"""What runners report of trials: metrics, each step once, and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import Trial, TrialCheckpoint, TrialReport

Curve = list[tuple[int, float]]


def add(session: Session, trial_id: str, points: Sequence[tuple[int, dict[str, Any]]], at: float) -> list[int]:
    """Store the metrics of these steps and return the steps that were new.

    A step told before is left as it stands. Whoever writes holds the lead's lock, so nobody adds between the look
    and the insert.
    """
    told = dict(reversed(points))
    known = set(
        session.scalars(
            select(TrialReport.step).where(TrialReport.trial_id == trial_id, TrialReport.step.in_(list(told)))
        )
    )
    fresh = sorted(set(told) - known)
    session.add_all(TrialReport(trial_id=trial_id, step=step, values=told[step], at=at) for step in fresh)
    session.flush()
    return fresh


def add_checkpoint(session: Session, checkpoint: TrialCheckpoint) -> bool:
    """Store a checkpoint; False where it stood already. One that is the best is never made less."""
    known = session.get(TrialCheckpoint, (checkpoint.trial_id, checkpoint.step))
    if known is None:
        session.add(checkpoint)
        session.flush()
        return True
    changed = checkpoint.best and not known.best
    known.path, known.best = checkpoint.path, known.best or checkpoint.best
    return changed


def curves(session: Session, trial_ids: Iterable[str], metric: str) -> dict[str, Curve]:
    """One metric of several trials by step, in order; trials and steps without it are left out."""
    query = select(TrialReport).where(TrialReport.trial_id.in_(list(trial_ids))).order_by(TrialReport.step)
    found: dict[str, Curve] = {}
    for report in session.scalars(query):
        value = report.values.get(metric)
        if value is not None:
            found.setdefault(report.trial_id, []).append((report.step, float(value)))
    return found


def curves_of_sweep(session: Session, sweep_id: str, metric: str) -> dict[str, Curve]:
    """As ``curves``, for all trials of a sweep."""
    return curves(session, session.scalars(select(Trial.id).where(Trial.sweep_id == sweep_id)), metric)


def of_trial(session: Session, trial_id: str) -> list[TrialReport]:
    return list(session.scalars(select(TrialReport).where(TrialReport.trial_id == trial_id).order_by(TrialReport.step)))


def checkpoints(session: Session, trial_id: str) -> list[TrialCheckpoint]:
    return list(
        session.scalars(
            select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial_id).order_by(TrialCheckpoint.step)
        )
    )
