"""The events of a sweep: one ordered list without gaps. Each is written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from service.store.tables import Event, Sweep


class NewEvent(NamedTuple):
    """An event that is to be appended; the fields are those of ``Event``."""

    kind: str
    data: dict[str, Any]
    trial_id: str | None = None


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
    seq = _last_of(session, sweep_id, 1)
    session.add(Event(sweep_id=sweep_id, seq=seq, kind=kind, trial_id=trial_id, data=data))
    return seq


def record_all(session: Session, sweep_id: str, new: Sequence[NewEvent]) -> None:
    """Append several events to a sweep, in their order, as ``record`` does, with a few statements for all of them.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep.
        new: The events.
    """
    if not new:
        return
    first = _last_of(session, sweep_id, len(new)) - len(new) + 1
    rows = [{"sweep_id": sweep_id, "seq": seq, **one._asdict()} for seq, one in enumerate(new, first)]
    session.execute(insert(Event), rows)


def _last_of(session: Session, sweep_id: str, count: int) -> int:
    """Reserve the numbers of so many events of a sweep, which locks its row until the commit, and return the last."""
    grown = update(Sweep).where(Sweep.id == sweep_id).values(event_seq=Sweep.event_seq + count)
    last: int = session.execute(grown.returning(Sweep.event_seq)).scalar_one()
    return last


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
