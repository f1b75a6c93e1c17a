"""The events of a sweep: one ordered list without gaps. Each is written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.store.tables import Event, Sweep


def record(session: Session, sweep_id: str, kind: str, data: dict[str, Any], trial_id: str | None = None) -> int:
    """Append an event to a sweep and return its number, which is one above that of the sweep's last event.

    Increasing ``event_seq`` locks the sweep's row until the commit, so that events are committed in order of number.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep that the event belongs to.
        kind: The kind of event, such as ``sweep.running`` or ``trial.metrics``.
        data: The event's facts; they depend on its kind.
        trial_id: The trial that the event is about; None for an event of the sweep itself.

    Raises:
        sqlalchemy.exc.NoResultFound: If there is no such sweep.
    """
    seq: int = session.execute(
        update(Sweep).where(Sweep.id == sweep_id).values(event_seq=Sweep.event_seq + 1).returning(Sweep.event_seq)
    ).scalar_one()
    session.add(Event(sweep_id=sweep_id, seq=seq, kind=kind, trial_id=trial_id, data=data))
    return seq


def record_all(session: Session, sweep_id: str, kind: str, data: Mapping[str, dict[str, Any]]) -> None:
    """Append an event of the same kind about each of several trials of a sweep, at least one, as ``record`` does.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep.
        kind: The kind of event.
        data: The facts of each event, by the trial's id; the events have this order.
    """
    grown = update(Sweep).where(Sweep.id == sweep_id).values(event_seq=Sweep.event_seq + len(data))
    last: int = session.execute(grown.returning(Sweep.event_seq)).scalar_one()
    session.add_all(
        Event(sweep_id=sweep_id, seq=seq, kind=kind, trial_id=trial_id, data=facts)
        for seq, (trial_id, facts) in enumerate(data.items(), last - len(data) + 1)
    )


def record_first(session: Session, sweep: Sweep, kind: str, data: dict[str, Any]) -> None:
    """Store a new sweep and its first event, which needs no lock: nobody else knows the sweep before the commit."""
    sweep.event_seq = 1
    session.add(sweep)
    session.flush()
    session.add(Event(sweep_id=sweep.id, seq=1, kind=kind, trial_id=None, data=data))


def after(session: Session, sweep_id: str, seq: int, limit: int = 500) -> list[Event]:
    """Return the first ``limit`` events of a sweep, and of its trials, with numbers above ``seq``, oldest first."""
    query = select(Event).where(Event.sweep_id == sweep_id, Event.seq > seq).order_by(Event.seq).limit(limit)
    return list(session.scalars(query))


def of_trial(session: Session, sweep_id: str, trial_id: str, after: int = 0, limit: int = 1000) -> list[Event]:
    """Return the first ``limit`` events of one trial with numbers above ``after``, the oldest first."""
    query = select(Event).where(Event.sweep_id == sweep_id, Event.trial_id == trial_id, Event.seq > after)
    return list(session.scalars(query.order_by(Event.seq).limit(limit)))
