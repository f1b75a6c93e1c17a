"""How the best objective of sweeps got better with their trials, in a few numbers for each sweep."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Subquery, func, select
from sqlalchemy.orm import Session

from service.states import DELETING
from service.store import best_objectives, trial_order
from service.store.best_objectives import unscaled
from service.store.tables import Sweep, Trial

PARTS = 24
"""Into how many parts the trials of a sweep are divided, by their numbers; the most points of one sweep."""


def of_sweeps(
    session: Session, sweep_ids: Sequence[str], owner: str | None = None
) -> dict[str, list[tuple[int, float]]]:
    """Return the best objective so far of each of some sweeps after each part of its trials, by the sweep's id.

    Trials count in the order of their numbers, in which they are started, and not in that of their ends. Of a sweep
    with repeats the objectives are those of its points, each of which counts with its last trial. The database computes
    one best value for each part, so few rows come out of it, however many trials there are.

    Args:
        session: A session.
        sweep_ids: The sweeps; those that are not there are left out.
        owner: Whose sweeps to include; None for those of every owner.

    Returns:
        For each sweep at most ``PARTS`` pairs: a number of trials, and the best objective of so many. Parts without a
        result have no pair.
    """
    known = select(Sweep.id).where(Sweep.id.in_(sweep_ids), Sweep.state != DELETING)
    ids = session.scalars(known if owner is None else known.where(Sweep.owner == owner)).all()
    rules = best_objectives.rules_of(session, ids)
    single, repeated = best_objectives.split(rules)
    rows: list[tuple[str, int, float, float]] = []
    if single:
        results = select(Trial.sweep_id, Trial.number, Trial.objective.label("value"))
        results = results.where(Trial.sweep_id.in_(list(single)), trial_order.with_result())
        rows += _ends_of_parts(session, results.subquery())
    if repeated:
        ends = _ends_of_parts(session, best_objectives.scaled_points(repeated))
        rows += [(sweep_id, last, unscaled(low), unscaled(high)) for sweep_id, last, low, high in ends]
    found: dict[str, list[tuple[int, float]]] = {sweep_id: [] for sweep_id in rules}
    for sweep_id, last, low, high in rows:
        pairs, up = found[sweep_id], rules[sweep_id].direction == "maximize"
        better, best = (max, high) if up else (min, low)
        pairs.append((last + 1, better(pairs[-1][1], best) if pairs else best))
    return found


def _ends_of_parts(session: Session, results: Subquery) -> list[tuple[str, int, float, float]]:
    """Return the id of a sweep, the last number, the least and the greatest value of each part, in order of the parts.

    Args:
        session: A session.
        results: Rows of ``sweep_id``, ``number`` and ``value``.
    """
    part = (results.c.number * PARTS // Sweep.trial_count).label("part")
    ends = (func.max(results.c.number), func.min(results.c.value), func.max(results.c.value))
    query = select(results.c.sweep_id, *ends).join(Sweep, Sweep.id == results.c.sweep_id)
    found = session.execute(query.group_by(results.c.sweep_id, part).order_by(part))
    return [(sweep_id, last, low, high) for sweep_id, last, low, high in found]
