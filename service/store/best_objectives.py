"""The best objectives of many sweeps at once, as the database computes them.

A sweep without repeats has the best objective of its trials, and one with repeats that of its points. The rules are
those of ``workers.spec.point_results``, in SQL: a point has a result once all of its trials exist, and each that was
not cancelled has one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import CTE, Integer, Select, String, Subquery, and_, case, column, func, select, union_all, values
from sqlalchemy.orm import Session

from service.store import trial_order, trials
from service.store.tables import Sweep, Trial
from workers.spec.ranking import MAX_FINITE, Direction
from workers.spec.repeats import Statistic, aggregate

_SCALE = 128.0
"""What objectives are divided by, so that no sum of those of a point is too large for a number: more than a point has
trials, and a power of two, by which no digit is lost."""
_SMALLEST = 1e-300
"""Objectives nearer to 0 than this count as 0 where points are ranked: PostgreSQL refuses a quotient without digits."""


class ObjectiveRule(NamedTuple):
    """How the objective of a sweep follows from those of its trials.

    Attributes:
        direction: Which objectives are better.
        repeats: How many trials each point has.
        statistic: What the objective of a point is made by.
    """

    direction: Direction
    repeats: int = 1
    statistic: Statistic = "mean"


def rules_of(session: Session, sweep_ids: Collection[str]) -> dict[str, ObjectiveRule]:
    """Return the rule of each of these sweeps, by its id. Nothing else of their documents is loaded."""
    repeats, statistic = Sweep.spec["repeats"].as_integer(), Sweep.spec["objective"]["statistic"].as_string()
    query = select(Sweep.id, Sweep.direction, repeats, statistic).where(Sweep.id.in_(sweep_ids))
    # documents of earlier releases say neither
    return {
        sweep_id: ObjectiveRule(direction, repeats or 1, statistic or "mean")
        for sweep_id, direction, repeats, statistic in session.execute(query)
    }


def best(session: Session, rules: Mapping[str, ObjectiveRule]) -> dict[str, float]:
    """Return the best objective of each of some sweeps, by its id; a sweep without a result is left out.

    There is one query for the sweeps without repeats and one for those with them, however many sweeps and trials there
    are. Of a sweep with repeats only the objectives of its best point are loaded.

    Args:
        session: A session.
        rules: The sweeps' ids, each with its rule.
    """
    single, repeated = split(rules)
    found = _of_trials(session, single) if single else {}
    return found | (_of_points(session, repeated) if repeated else {})


def split(rules: Mapping[str, ObjectiveRule]) -> tuple[dict[str, ObjectiveRule], dict[str, ObjectiveRule]]:
    """Return the rules of the sweeps without repeats, and those of the others."""
    single = {sweep_id: rule for sweep_id, rule in rules.items() if rule.repeats == 1}
    return single, {sweep_id: rule for sweep_id, rule in rules.items() if rule.repeats > 1}


def _of_trials(session: Session, rules: Mapping[str, ObjectiveRule]) -> dict[str, float]:
    query = select(Trial.sweep_id, func.min(Trial.objective), func.max(Trial.objective))
    query = query.where(trials.in_sweeps(session, list(rules)), trial_order.with_result()).group_by(Trial.sweep_id)
    return {
        sweep_id: high if rules[sweep_id].direction == "maximize" else low
        for sweep_id, low, high in session.execute(query)
        if low is not None and high is not None
    }


def _of_points(session: Session, rules: Mapping[str, ObjectiveRule]) -> dict[str, float]:
    points = scaled_points(rules)
    order = (points.c.sign * points.c.value, points.c.number)
    place = func.row_number().over(partition_by=points.c.sweep_id, order_by=order).label("place")
    ranked = select(points, place).subquery()
    of_point = and_(
        Trial.sweep_id == ranked.c.sweep_id,
        Trial.number.between(ranked.c.number - ranked.c.repeats + 1, ranked.c.number),
    )
    query = select(Trial.sweep_id, Trial.objective).join(ranked, of_point)
    found: dict[str, list[float]] = {}
    for sweep_id, objective in session.execute(query.where(ranked.c.place == 1, trial_order.with_result())):
        if objective is not None:
            found.setdefault(sweep_id, []).append(objective)
    return {sweep_id: aggregate(own, rules[sweep_id].statistic) for sweep_id, own in found.items()}


def scaled_points(rules: Mapping[str, ObjectiveRule]) -> Subquery:
    """Return the objectives of the points that have a result, of sweeps with repeats, at least one.

    The columns are ``sweep_id``, ``repeats`` and ``sign``, which is -1 where the objective is maximised and else 1;
    the ``number`` of the point's last trial; and ``value``, from which ``unscaled`` makes the objective.

    Args:
        rules: The sweeps' ids, each with its rule.
    """
    columns = column("sweep_id", String), column("repeats", Integer), column("sign", Integer)
    given = values(*columns, name="rules")
    by_statistic: dict[Statistic, list[str]] = {}
    for sweep_id, rule in rules.items():
        by_statistic.setdefault(rule.statistic, []).append(sweep_id)
    rows = [(sweep_id, rule.repeats, -1 if rule.direction == "maximize" else 1) for sweep_id, rule in rules.items()]
    known = given.data(rows).cte()
    queries = [_points(_scaled_trials(known, ids, statistic), statistic) for statistic, ids in by_statistic.items()]
    return (union_all(*queries) if len(queries) > 1 else queries[0]).subquery()


def _scaled_trials(rules: CTE, sweep_ids: Sequence[str], statistic: Statistic) -> Subquery:
    """Return the trials of sweeps with their points, and in ``scaled`` their objectives if they have a result."""
    point = (Trial.number // rules.c.repeats).label("point")
    small = func.abs(Trial.objective) < _SMALLEST
    scaled = case((~trial_order.with_result(), None), (small, 0.0), else_=Trial.objective / _SCALE).label("scaled")
    query = select(Trial.sweep_id, rules.c.repeats, rules.c.sign, point, Trial.number, Trial.state, scaled)
    query = query.join(rules, rules.c.sweep_id == Trial.sweep_id).where(Trial.sweep_id.in_(sweep_ids))
    if statistic == "median":  # what takes far longer than all else
        within = (Trial.sweep_id, point.element)
        place = func.row_number().over(partition_by=within, order_by=scaled.element.asc().nulls_last())
        query = query.add_columns(place.label("place"), func.count(scaled.element).over(partition_by=within).label("n"))
    return query.subquery()


def _points(own: Subquery, statistic: Statistic) -> Select[str, int, int, int, float]:
    """Return the points that have a result, of trials with their points."""
    with_result, cancelled = func.count(own.c.scaled), func.sum(case((own.c.state == "cancelled", 1), else_=0))
    if statistic == "median":  # one trial is in the middle, or two are
        middle = case(((2 * own.c.place).between(own.c.n, own.c.n + 2), own.c.scaled))
        value = func.sum(middle) / func.count(middle)
    elif statistic == "mean":
        value = func.sum(own.c.scaled) / with_result
    else:
        value = func.min(own.c.scaled) if statistic == "min" else func.max(own.c.scaled)
    of_point = (own.c.sweep_id, own.c.repeats, own.c.sign)
    query = select(*of_point, func.max(own.c.number).label("number"), value.label("value"))
    whole = and_(func.count() == own.c.repeats, with_result > 0, with_result + cancelled == own.c.repeats)
    return query.group_by(*of_point, own.c.point).having(whole)


def unscaled(scaled: float) -> float:
    """Return the objective of a point; a mean may differ in its last digit from the one of ``workers.spec.repeats``."""
    return max(-MAX_FINITE, min(MAX_FINITE, scaled * _SCALE))
