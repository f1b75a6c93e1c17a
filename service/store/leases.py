"""The lead of the controllers: one row, a holder, a term that grows with each new holder.

The lease decides who tries to lead; the term decides whose writes land (``Database.write``). So a clock that runs
wrong, or a controller that wakes up late, can cost time but never correctness.
"""

from __future__ import annotations

import time

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.store.database import LEADER, LeadLost
from service.store.tables import Lease


def acquire(session: Session, holder: str, seconds: float) -> int | None:
    """The term under which ``holder`` leads from now on; None while another's lease runs."""
    now = time.time()
    lease = session.scalar(select(Lease).where(Lease.name == LEADER).with_for_update())
    if lease is None:
        return _first(session, holder, now + seconds)
    if lease.holder != holder and lease.expires_at > now:
        return None
    lease.holder, lease.term, lease.expires_at = holder, lease.term + 1, now + seconds
    return lease.term


def _first(session: Session, holder: str, expires_at: float) -> int | None:
    try:
        with session.begin_nested():
            session.add(Lease(name=LEADER, holder=holder, term=1, expires_at=expires_at))
    except IntegrityError:  # another controller was first
        return None
    return 1


def renew(session: Session, term: int, seconds: float) -> None:
    """Lead for ``seconds`` more. Raises LeadLost where another has taken over."""
    mine = (Lease.name == LEADER) & (Lease.term == term)
    found = session.execute(update(Lease).where(mine).values(expires_at=time.time() + seconds).returning(Lease.term))
    if found.scalar_one_or_none() is None:
        raise LeadLost(f"term {term} no longer leads")


def release(session: Session, term: int) -> None:
    """Let the next controller lead at once."""
    session.execute(update(Lease).where(Lease.name == LEADER, Lease.term == term).values(expires_at=0.0))


def current(session: Session) -> Lease | None:
    """Who leads, or led last."""
    return session.get(Lease, LEADER)
