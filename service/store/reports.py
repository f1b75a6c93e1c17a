"""Metrics that runners reported for trials. Each step of a trial is stored once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import Trial, TrialReport
from workers.spec.pruning_rules import Curve


def add(session: Session, trial_id: str, points: Sequence[tuple[int, dict[str, Any]]], at: float) -> list[TrialReport]:
    """Store the metrics of the steps that are not stored yet.

    A step that is stored already keeps its values. The caller writes in a leadership term, and so holds the lease's
    lock: no other writer can add a step between the query and the insert.

    Args:
        session: A session in a write transaction of a leadership term.
        trial_id: The trial that the metrics belong to.
        points: Pairs of step and metrics by name. If a step occurs twice, its first metrics are stored.
        at: The time of the report, in seconds since the Unix epoch.

    Returns:
        The new rows in order of step.
    """
    values = dict(reversed(points))
    known = set(
        session.scalars(
            select(TrialReport.step).where(TrialReport.trial_id == trial_id, TrialReport.step.in_(list(values)))
        )
    )
    fresh = [
        TrialReport(trial_id=trial_id, step=step, values=values[step], at=at)
        for step in sorted(values)
        if step not in known
    ]
    session.add_all(fresh)
    session.flush()
    return fresh


def of_trial(session: Session, trial_id: str, after: int = -1, limit: int | None = None) -> list[TrialReport]:
    """Return a trial's reports at the steps above ``after``, in order of step: the first ``limit``, or all if None."""
    query = select(TrialReport).where(TrialReport.trial_id == trial_id, TrialReport.step > after)
    return list(session.scalars(query.order_by(TrialReport.step).limit(limit)))


def metric_names(session: Session, trial_id: str, limit: int = 200) -> list[str]:
    """Return the names of the metrics in the first reports of a trial, sorted."""
    query = select(TrialReport.values).where(TrialReport.trial_id == trial_id).order_by(TrialReport.step).limit(limit)
    return sorted({name for values in session.scalars(query) for name in values})


def thinned_curves(session: Session, trial_ids: Sequence[str], metric: str, most: int) -> dict[str, Curve]:
    """Return the curve of one metric of each of several trials, by the trial's id, with about ``most`` points each.

    The first and the last report stay, and between them those that are evenly spread; only the metric is read of each
    report. Steps without the metric are left out, and so are trials that have it at no step.
    """
    value = TrialReport.values[metric].as_float()
    query = select(TrialReport.trial_id, TrialReport.step, value).where(TrialReport.trial_id.in_(trial_ids))
    found = session.execute(query.order_by(TrialReport.trial_id, TrialReport.step))
    curves = {
        trial_id: [(step, float(number)) for _, step, number in points if number is not None]
        for trial_id, points in groupby(found, key=lambda row: row[0])
    }
    return {trial_id: list(_spread(curve, most)) for trial_id, curve in curves.items() if curve}


def _spread(curve: Curve, most: int) -> Iterator[tuple[int, float]]:
    """Yield about ``most`` points of a curve, evenly spread by their place, with its first and its last point."""
    last = len(curve) - 1
    yield from curve if last < most else (curve[round(place * last / (most - 1))] for place in range(most))


def curves(session: Session, trial_ids: Iterable[str], metric: str) -> dict[str, Curve]:
    """Return the curve of one metric for each of several trials, by the trial's id.

    Steps without the metric are left out, and so are trials that have it at no step.
    """
    query = select(TrialReport).where(TrialReport.trial_id.in_(list(trial_ids))).order_by(TrialReport.step)
    found: dict[str, Curve] = {}
    for report in session.scalars(query):
        value = report.values.get(metric)
        if value is not None:
            found.setdefault(report.trial_id, []).append((report.step, float(value)))
    return found


def curves_of_sweep(session: Session, sweep_id: str, metric: str) -> dict[int, Curve]:
    """Return the curve of one metric for each trial of a sweep that has reported it, by the trial's number."""
    numbers = dict(session.execute(select(Trial.id, Trial.number).where(Trial.sweep_id == sweep_id)).all())
    return {numbers[trial_id]: curve for trial_id, curve in curves(session, numbers, metric).items()}
