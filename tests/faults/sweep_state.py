"""What is asked of the tables again and again while a sweep is disturbed. Each may raise SQLAlchemyError meanwhile."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from service.states import SWEEP_ENDED
from service.store.database import Database
from service.store.tables import IdempotencyKey, Sweep, Trial


def state(database: Database, sweep_id: str) -> str:
    """Return the state of a sweep."""
    with database.read() as session:
        return session.get_one(Sweep, sweep_id).state


def has_ended(database: Database, sweep_id: str) -> bool:
    """Return whether a sweep is known to have ended; False, too, if the database does not answer."""
    with suppress(SQLAlchemyError):
        return state(database, sweep_id) in SWEEP_ENDED
    return False


def event_seq(database: Database, sweep_id: str) -> int:
    """Return the number of a sweep's last event."""
    with database.read() as session:
        return session.get_one(Sweep, sweep_id).event_seq


def begun_trials(database: Database, sweep_id: str) -> dict[str, int]:
    """Return the step of each trial that runs, or waits to go on, by the trial's id."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state.in_(["running", "waiting"]))
    with database.read() as session:
        return {trial.id: trial.step for trial in session.scalars(query) if trial.pack_id is not None}


def runs(database: Database, sweep_id: str) -> bool:
    """Return whether a trial of a sweep is running."""
    query = select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state == "running")
    with database.read() as session:
        return session.scalar(query.limit(1)) is not None


def count(database: Database) -> int:
    """Return the number of all sweeps."""
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Sweep)) or 0


def is_stored(database: Database, key: str) -> bool:
    """Return whether a submission with an Idempotency-Key has been stored."""
    with database.read() as session:
        found = session.scalar(select(IdempotencyKey.sweep_id).where(IdempotencyKey.key == key).limit(1))
        return found is not None
