"""The events of a sweep: one ordered, gapless list, written in the transaction of the change they tell of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.store.tables import Event, Sweep


def record(session: Session, sweep_id: str, kind: str, data: dict[str, Any], trial_id: str | None = None) -> int:
    """Append an event and return its number. Moving the number locks the sweep's row, so numbers commit in order."""
    seq: int = session.execute(
        update(Sweep).where(Sweep.id == sweep_id).values(event_seq=Sweep.event_seq + 1).returning(Sweep.event_seq)
    ).scalar_one()
    session.add(Event(sweep_id=sweep_id, seq=seq, kind=kind, trial_id=trial_id, data=data))
    return seq


def after(session: Session, sweep_id: str, seq: int, limit: int = 500) -> list[Event]:
    """The events after ``seq``, oldest first."""
    query = select(Event).where(Event.sweep_id == sweep_id, Event.seq > seq).order_by(Event.seq).limit(limit)
    return list(session.scalars(query))


def of_trial(session: Session, sweep_id: str, trial_id: str, limit: int = 1000) -> list[Event]:
    """The first ``limit`` events of one trial, oldest first."""
    query = select(Event).where(Event.sweep_id == sweep_id, Event.trial_id == trial_id)
    return list(session.scalars(query.order_by(Event.seq).limit(limit)))
