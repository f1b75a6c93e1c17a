"""What was measured of packs on this cluster, from which durations are estimated. The caller commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, fields

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.store.tables import CostSample
from workers.spec.cost import MeasuredCost

NEWEST = 6
"""So many measurements are kept of packs of one shape, size and source on one device."""
MOST = 4_000
"""The most rows of the table; the oldest ones go first."""

NEWS, MOST_SHAPES = 200, 100
"""How many of the newest rows are read for one estimate, and for how many shapes all rows are read."""

_FIELDS = tuple(field.name for field in fields(MeasuredCost))


def add(session: Session, measured: Iterable[MeasuredCost]) -> None:
    """Store measurements, and delete those that they replace."""
    for cost in measured:
        session.add(CostSample(**asdict(cost)))
        session.flush()
        same = [getattr(CostSample, name) == getattr(cost, name) for name in ("source", "shape", "device", "size")]
        newer = select(CostSample.id).where(*same).order_by(CostSample.id.desc()).limit(NEWEST)
        session.execute(delete(CostSample).where(*same, CostSample.id.not_in(newer.scalar_subquery())))
    count = session.scalar(select(func.count()).select_from(CostSample)) or 0
    if count > MOST:
        oldest = session.scalars(select(CostSample.id).order_by(CostSample.id).limit(count - MOST)).all()
        session.execute(delete(CostSample).where(CostSample.id.in_(oldest)))


def known(session: Session, *, on_gpu: bool, shapes: Collection[str] = (), most: int = NEWS) -> list[MeasuredCost]:
    """Return measurements of packs on GPUs, or of those on CPUs alone, the oldest first.

    Args:
        session: A session.
        on_gpu: Whether the packs have a GPU.
        shapes: All measurements of these shapes are returned, for the first ``MOST_SHAPES`` of them.
        most: Of the others, so many are returned, the newest ones.
    """
    columns = [CostSample.id, *(getattr(CostSample, name) for name in _FIELDS)]
    query = select(*columns).where(CostSample.gpus > 0 if on_gpu else CostSample.gpus == 0)
    rows = {row[0]: row[1:] for row in session.execute(query.order_by(CostSample.id.desc()).limit(most))}
    if shapes:
        of_shapes = query.where(CostSample.shape.in_(list(shapes)[:MOST_SHAPES]))
        rows |= {row[0]: row[1:] for row in session.execute(of_shapes)}
    return [MeasuredCost(*rows[key]) for key in sorted(rows)]
