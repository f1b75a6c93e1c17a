"""The points of stored sweeps: what is known of the trials of each, and which trial stands for the best of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store import trials
from service.store.tables import Sweep, Trial
from workers.spec.point_results import PointResult, RepeatResult, best_point, grouped
from workers.spec.ranking import Direction


def repeats_of(document: dict[str, Any]) -> int:
    """Return how many trials each point of a stored document has; documents of earlier releases do not say it."""
    return int(document.get("repeats", 1))


def of_sweep(session: Session, sweep: Sweep) -> list[PointResult]:
    """Return the points of a sweep that have trials, by number. Without repeats, each trial is a point."""
    statistic = sweep.spec.get("objective", {}).get("statistic", "mean")
    columns = select(Trial.number, Trial.state, Trial.objective).where(Trial.sweep_id == sweep.id)
    rows = session.execute(columns.order_by(Trial.number))
    return grouped((RepeatResult(*row) for row in rows), repeats_of(sweep.spec), statistic)


def best(session: Session, sweep: Sweep) -> PointResult | None:
    """Return the best point of a sweep with repeats; None if none has a result, or if the sweep has no repeats."""
    return best_point(of_sweep(session, sweep), direction_of(sweep)) if repeats_of(sweep.spec) > 1 else None


def best_trial(session: Session, sweep: Sweep, point: PointResult | None = None) -> Trial | None:
    """Return the trial that stands for a sweep: the best one, or with repeats the best one of the best point.

    It is the one that is shown, and whose model is registered: of trainings that differ in their seeds alone, nothing
    but their results on the validation set says which network is the better one.

    Args:
        session: A session.
        sweep: The sweep.
        point: What ``best`` returns, if that is known already.
    """
    direction = direction_of(sweep)
    if repeats_of(sweep.spec) == 1:
        return trials.best(session, sweep.id, direction)
    point = point or best(session, sweep)
    found = point.best_repeat(direction) if point else None
    return trials.get(session, trials.id_of(sweep.id, found.number)) if found else None


def direction_of(sweep: Sweep) -> Direction:
    """Return which objectives of a sweep are better."""
    return "maximize" if sweep.direction == "maximize" else "minimize"
