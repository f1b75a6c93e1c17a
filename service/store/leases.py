"""Queries on the row of the controllers' lease: its holder, its expiry, and a term that grows with each new leader.

The lease's expiry decides who may try to lead, and so does what a waiting controller has seen: a lease that is not
renewed for as long as a lease lasts, on the monotonic clock of the one who waits, is given up, whatever the clocks of
the machines say. The term decides whose writes are accepted (``Database.write``). A wrong clock, or a controller that
wakes up late, can therefore cost time but never correctness.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.store.database import LEADER, LeadLost
from service.store.tables import Lease


@dataclass(frozen=True)
class LeaseSight:
    """What tells whether a lease was renewed between two looks at it: a renewal changes ``expires_at``."""

    term: int
    expires_at: float


def acquire(session: Session, holder: str, seconds: float, abandoned: LeaseSight | None = None) -> int | None:
    """Take the lease and return the new term; return None while another holder's lease has not expired.

    A holder that acquires its own lease again begins a new term too. None is also returned if another controller was
    the first one ever to take the lease at the same moment.

    Args:
        session: A session in a write transaction.
        holder: The unique name of this controller.
        seconds: The time until the lease expires, unless it is renewed.
        abandoned: A lease that the caller has seen unchanged for so long that its holder must be gone. If it still is
            unchanged, it counts as expired.
    """
    now = time.time()
    lease = session.scalar(select(Lease).where(Lease.name == LEADER).with_for_update())
    if lease is None:
        return _first(session, holder, now + seconds)
    given_up = abandoned == LeaseSight(lease.term, lease.expires_at)
    if lease.holder != holder and lease.expires_at > now and not given_up:
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
    """Set the lease to expire in ``seconds`` from now, also if it has expired but nobody has taken it.

    Raises:
        LeadLost: If ``term`` is not the lease's term, because another one has begun.
    """
    mine = (Lease.name == LEADER) & (Lease.term == term)
    found = session.execute(update(Lease).where(mine).values(expires_at=time.time() + seconds).returning(Lease.term))
    if found.scalar_one_or_none() is None:
        raise LeadLost(f"leadership term {term} has ended: another controller has taken the lease")


def release(session: Session, term: int) -> None:
    """Expire the lease, so that another controller can take it at once. Do nothing if another term has begun."""
    session.execute(update(Lease).where(Lease.name == LEADER, Lease.term == term).values(expires_at=0.0))


def current(session: Session) -> Lease | None:
    """Return the lease, which may have expired; None if no controller has ever led."""
    return session.get(Lease, LEADER)
