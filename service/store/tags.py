"""The tags of sweeps: words by which users find them again. The caller commits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from service.store.tables import Sweep, SweepTag


def of_sweeps(session: Session, sweep_ids: Collection[str]) -> dict[str, list[str]]:
    """Return the tags of each of some sweeps in alphabetical order, by its id; an empty list for a sweep without."""
    found: dict[str, list[str]] = {sweep_id: [] for sweep_id in sweep_ids}
    query = select(SweepTag.sweep_id, SweepTag.tag).where(SweepTag.sweep_id.in_(sweep_ids)).order_by(SweepTag.tag)
    for sweep_id, tag in session.execute(query):
        found[sweep_id].append(tag)
    return found


def replace(session: Session, sweep_id: str, tags: Sequence[str]) -> None:
    """Give a sweep these tags in place of those that it has."""
    remove_all(session, sweep_id)
    session.add_all(SweepTag(sweep_id=sweep_id, tag=tag) for tag in tags)


def remove_all(session: Session, sweep_id: str) -> None:
    """Delete all tags of a sweep."""
    session.execute(delete(SweepTag).where(SweepTag.sweep_id == sweep_id))


def has(tag: str) -> ColumnElement[bool]:
    """Return the condition that a sweep has a tag, which the database looks up in the index of the tags."""
    return Sweep.id.in_(select(SweepTag.sweep_id).where(SweepTag.tag == tag))
