"""How the best objective of sweeps got better with their trials, in a few numbers for each sweep."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.states import DELETING
from service.store import trial_order
from service.store.tables import Sweep, Trial

PARTS = 24
"""Into how many parts the trials of a sweep are divided, by their numbers; the most points of one sweep."""


def of_sweeps(
    session: Session, sweep_ids: Sequence[str], owner: str | None = None
) -> dict[str, list[tuple[int, float]]]:
    """Return the best objective so far of each of some sweeps after each part of its trials, by the sweep's id.

    Trials count in the order of their numbers, in which they are started, and not in that of their ends. The database
    computes one best value for each part, so few rows come out of it, however many trials there are.

    Args:
        session: A session.
        sweep_ids: The sweeps; those that are not there are left out.
        owner: Whose sweeps to include; None for those of every owner.

    Returns:
        For each sweep at most ``PARTS`` pairs: a number of trials, and the best objective of so many. Parts without a
        result have no pair.
    """
    known = select(Sweep.id, Sweep.direction).where(Sweep.id.in_(sweep_ids), Sweep.state != DELETING)
    directions = dict(session.execute(known if owner is None else known.where(Sweep.owner == owner)).all())
    part = (Trial.number * PARTS // Sweep.trial_count).label("part")
    query = select(Trial.sweep_id, func.max(Trial.number), func.min(Trial.objective), func.max(Trial.objective))
    query = query.join(Sweep, Sweep.id == Trial.sweep_id).where(
        Trial.sweep_id.in_(list(directions)), trial_order.with_result()
    )
    found: dict[str, list[tuple[int, float]]] = {sweep_id: [] for sweep_id in directions}
    for sweep_id, number, low, high in session.execute(query.group_by(Trial.sweep_id, part).order_by(part)):
        points, up = found[sweep_id], directions[sweep_id] == "maximize"
        better, best = (max, high) if up else (min, low)
        if best is not None:
            points.append((number + 1, better(points[-1][1], best) if points else best))
    return found
