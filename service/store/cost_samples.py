"""What was measured of packs on this cluster, from which durations are estimated. The caller commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.store.tables import CostSample
from workers.spec.cost import MeasuredCost

NEWEST = 6
"""So many measurements are kept of packs of one shape, size and source on one device."""
MOST = 4_000
"""The most rows of the table; the oldest ones go first."""

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


def every(session: Session, *, on_gpu: bool) -> list[MeasuredCost]:
    """Return all measurements of packs on GPUs, or of those on CPUs alone, the oldest first."""
    query = select(CostSample).where(CostSample.gpus > 0 if on_gpu else CostSample.gpus == 0).order_by(CostSample.id)
    return [MeasuredCost(**{name: getattr(row, name) for name in _FIELDS}) for row in session.scalars(query)]
