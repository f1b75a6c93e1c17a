"""Queries for a sweep's trials by state, with which the controller decides what they need next."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED, TrialState
from service.store.tables import Sweep, Trial
from service.store.trial_order import with_result


def exist(session: Session, sweep_id: str, state: TrialState | None = None) -> bool:
    """Return whether a sweep has a trial in ``state``, or any trial if that is None."""
    query = select(Trial.id).where(Trial.sweep_id == sweep_id)
    query = query.where(Trial.state == state) if state else query
    return session.scalar(query.limit(1)) is not None


def in_state(session: Session, sweep_id: str, state: TrialState) -> list[Trial]:
    """Return a sweep's trials in one state, in order of number."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == state)
    return list(session.scalars(query.order_by(Trial.number)))


def reasons_by_state(session: Session, sweep_id: str) -> dict[str, dict[int, str]]:
    """Return, by state, the number of each trial of a sweep in this state, with its reason, which may be empty."""
    query = select(Trial.state, Trial.number, Trial.reason).where(Trial.sweep_id == sweep_id)
    found: dict[str, dict[int, str]] = {}
    for state, number, reason in session.execute(query.order_by(Trial.number)):
        found.setdefault(state, {})[number] = reason or ""
    return found


def unfinished(session: Session, sweep_id: str) -> list[Trial]:
    """Return a sweep's trials that have not ended, in order of number."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state.not_in(TRIAL_ENDED))
    return list(session.scalars(query.order_by(Trial.number)))


def any_unfinished(session: Session, sweep_id: str) -> bool:
    """Return whether a sweep has a trial that has not ended."""
    query = select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state.not_in(TRIAL_ENDED))
    return session.scalar(query.limit(1)) is not None


def ready(session: Session, sweep_id: str, limit: int) -> list[Trial]:
    """Return the first ``limit`` waiting trials, by number, of a sweep that no user has stopped or cancelled."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == "waiting", Trial.wanted.is_(None))
    return list(session.scalars(query.order_by(Trial.number).limit(limit)))


def sweeps_with_ready(session: Session, sweep_ids: Collection[str]) -> set[str]:
    """Return the ids of those sweeps that have a waiting trial which no user has stopped or cancelled."""
    ready = select(Trial.id).where(Trial.sweep_id == Sweep.id, Trial.state == "waiting", Trial.wanted.is_(None))
    return set(session.scalars(select(Sweep.id).where(Sweep.id.in_(sweep_ids), ready.exists())))


def running_of_packs(session: Session) -> dict[str, int]:
    """Return the number of running trials of each pack, by its id; packs without any are left out."""
    query = select(Trial.pack_id, func.count()).where(Trial.state == "running").group_by(Trial.pack_id)
    return {pack_id: count for pack_id, count in session.execute(query) if pack_id is not None}


def waiting_with_verb(session: Session, sweep_id: str) -> list[Trial]:
    """Return the waiting trials of a sweep that a user has stopped or cancelled, in order of number."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == "waiting", Trial.wanted.is_not(None))
    return list(session.scalars(query.order_by(Trial.number)))


def any_pruned_with_result(session: Session, sweep_id: str) -> bool:
    """Return whether a trial of a sweep was pruned after a best checkpoint had given it a result."""
    query = select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state == "pruned", with_result())
    return session.scalar(query.limit(1)) is not None
