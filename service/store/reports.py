"""Metrics that runners reported for trials. Each step of a trial is stored once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from service.report.thinning import Thinned
from service.store.tables import Trial, TrialReport
from workers.spec.pruning_rules import Curve

REPORTS_AT_ONCE = 500
"""How many reports one query returns, or names, where there may be any number."""


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
        The new rows in order of step. They are not in the session.
    """
    return add_all(session, {trial_id: points}, at)


def add_all(
    session: Session, points: Mapping[str, Sequence[tuple[int, dict[str, Any]]]], at: float
) -> list[TrialReport]:
    """Store the metrics of several trials as ``add`` does, with a few statements for all of them.

    Args:
        session: A session in a write transaction of a leadership term.
        points: For each trial, by its id, what ``add`` is given.
        at: The time of the reports, in seconds since the Unix epoch.

    Returns:
        The new rows, which are not in the session: trial by trial, and in order of step.
    """
    values = {(trial_id, step): found for trial_id, own in points.items() for step, found in reversed(own)}
    if not values:
        return []
    keys, known = list(values), set[tuple[str, int]]()
    for start in range(0, len(keys), REPORTS_AT_ONCE):
        some = keys[start : start + REPORTS_AT_ONCE]
        query = select(TrialReport.trial_id, TrialReport.step).where(
            TrialReport.trial_id.in_({trial_id for trial_id, _ in some}),
            TrialReport.step.in_({step for _, step in some}),
        )
        known |= {(trial_id, step) for trial_id, step in session.execute(query)}
    fresh = [
        {"trial_id": trial_id, "step": step, "values": values[trial_id, step], "at": at}
        for trial_id, own in points.items()
        for step in sorted({step for step, _ in own})
        if (trial_id, step) not in known
    ]
    if fresh:
        session.execute(insert(TrialReport), fresh)
    return [TrialReport(**row) for row in fresh]


def of_trial(session: Session, trial_id: str, after: int = -1, limit: int | None = None) -> list[TrialReport]:
    """Return a trial's reports at the steps above ``after``, in order of step: the first ``limit``, or all if None."""
    query = select(TrialReport).where(TrialReport.trial_id == trial_id, TrialReport.step > after)
    return list(session.scalars(query.order_by(TrialReport.step).limit(limit)))


def thinned(session: Session, trial_id: str, after: int, most: int) -> list[TrialReport]:
    """Return about ``most`` of a trial's reports at the steps above ``after``, evenly spread, in order of step.

    Reports with the same metrics are thinned together, and apart from others: what a trial reports rarely, such as its
    validation, keeps as many points as what it reports often, and each metric keeps its first and its last report.
    """
    kinds: dict[frozenset[str], Thinned[TrialReport]] = {}
    while page := of_trial(session, trial_id, after, limit=REPORTS_AT_ONCE):
        for report in page:
            kinds.setdefault(frozenset(report.values), Thinned(most)).add(report)
        after = page[-1].step
    return sorted((report for kind in kinds.values() for report in kind.points), key=lambda report: report.step)


def metric_names(session: Session, trial_id: str, first: int = 200, last: int = 20) -> list[str]:
    """Return the names of the metrics in the first and in the last reports of a trial, sorted."""
    query = select(TrialReport.values).where(TrialReport.trial_id == trial_id)
    early = session.scalars(query.order_by(TrialReport.step).limit(first)).all()
    late = session.scalars(query.order_by(TrialReport.step.desc()).limit(last)).all()
    return sorted({name for values in [*early, *late] for name in values})


def at_steps(session: Session, trial_id: str, steps: Collection[int]) -> list[TrialReport]:
    """Return a trial's reports at some steps, in order of step; steps without a report are left out."""
    query = select(TrialReport).where(TrialReport.trial_id == trial_id, TrialReport.step.in_(steps))
    return list(session.scalars(query.order_by(TrialReport.step)))


def of_checkpoints(session: Session, trial_id: str, steps: Collection[int]) -> list[TrialReport]:
    """Return a trial's reports at some steps, and its last one, in order of step; unknown steps are left out."""
    found = {report.step: report for report in at_steps(session, trial_id, steps)}
    query = select(TrialReport).where(TrialReport.trial_id == trial_id)
    last = session.scalar(query.order_by(TrialReport.step.desc()).limit(1))
    return list((found | ({last.step: last} if last else {})).values())


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
