"""The audit log: what was changed, and what was refused. It is bounded by age and by number. The caller commits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.store.tables import AuditEntry

KEPT_SECONDS = 180 * 86_400.0
"""Older entries are removed."""
KEPT_ENTRIES = 100_000
"""At most about so many entries, the newest, are kept."""


def record(session: Session, entries: Sequence[AuditEntry]) -> None:
    """Store entries, in order."""
    session.add_all(entries)
    session.flush()


def page(
    session: Session, limit: int, before: int | None = None, owner: str | None = None, refused: bool = False
) -> Sequence[AuditEntry]:
    """Return entries, the newest first.

    Args:
        session: A session.
        limit: The largest number of entries to return.
        before: The id of the last entry of the page before; None for the first page.
        owner: Whose entries to return; None for all.
        refused: Return only what was refused.
    """
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if owner is not None:
        query = query.where(AuditEntry.owner == owner)
    if refused:
        query = query.where(AuditEntry.status >= 400)
    return session.scalars(query).all()


def prune(session: Session, seconds: float = KEPT_SECONDS, entries: int = KEPT_ENTRIES) -> None:
    """Remove entries that are older than ``seconds``, and all but about the newest ``entries``."""
    newest = session.scalar(select(func.max(AuditEntry.id))) or 0
    session.execute(delete(AuditEntry).where(AuditEntry.id <= newest - entries))
    session.execute(delete(AuditEntry).where(AuditEntry.at < time.time() - seconds))
