"""The order of ``workers.spec.ranking`` in SQL: which trials have a result, and which are better.

SQLite stores NaN as NULL, and PostgreSQL sorts NaN above infinity. Neither shows, because a trial whose objective is
not a finite number has no result.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, ColumnExpressionArgument, and_, case, or_

from service.store.tables import Trial
from workers.spec.ranking import MAX_FINITE, WITHOUT_RESULT, Direction, has_result

RankPosition = tuple[float | None, int]
"""The objective of a trial that has a result, else None, and its number: they fix its place in the ranking."""


def with_result() -> ColumnElement[bool]:
    """Return the condition that a trial has a result; it is never NULL."""
    finite = and_(Trial.objective.is_not(None), Trial.objective.between(-MAX_FINITE, MAX_FINITE))
    return and_(Trial.state.not_in(sorted(WITHOUT_RESULT)), finite)


def by_rank(direction: Direction) -> tuple[ColumnExpressionArgument[Any], ...]:
    """Return what trials are sorted by, the best first."""
    result = case((with_result(), Trial.objective))
    better = result.desc() if direction == "maximize" else result.asc()
    return case((with_result(), 0), else_=1), better, Trial.number


def position(trial: Trial) -> RankPosition:
    """Return a trial's place in the ranking."""
    return trial.objective if has_result(trial.state, trial.objective) else None, trial.number


def ranked_below(place: RankPosition, direction: Direction) -> ColumnElement[bool]:
    """Return the condition that a trial comes after a place in the ranking."""
    objective, number = place
    if objective is None:
        return and_(~with_result(), Trial.number > number)
    worse = Trial.objective < objective if direction == "maximize" else Trial.objective > objective
    later = or_(worse, and_(Trial.objective == objective, Trial.number > number))
    return or_(~with_result(), later)
