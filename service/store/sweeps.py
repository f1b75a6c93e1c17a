"""Sweeps in the store: created, moved between states, listed. Pure functions of a session; the caller commits."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from service import states
from service.states import SWEEP_ENDED, SweepState, SweepVerb
from service.store import events
from service.store.errors import NotFound
from service.store.tables import OutboxEntry, Sweep

_ID = re.compile(r"sw[0-9a-f]{10}")


def create(session: Session, name: str, spec: dict[str, Any], trial_count: int) -> Sweep:
    """A new queued sweep with its first event, and the word to MLflow that it needs a run."""
    sweep = Sweep(
        id=f"sw{secrets.token_hex(5)}", name=name, state="queued", spec=spec, trial_count=trial_count,
        created_at=time.time(),
    )  # fmt: skip
    session.add(sweep)
    session.flush()
    events.record(session, sweep.id, "sweep.queued", {"name": name, "trials": trial_count})
    session.add(OutboxEntry(sweep_id=sweep.id, kind="sweep", payload={"name": name, "at": sweep.created_at}))
    return sweep


def get(session: Session, sweep_id: str) -> Sweep:
    """The sweep; NotFound where there is none."""
    sweep = session.get(Sweep, sweep_id) if _ID.fullmatch(sweep_id) else None
    if sweep is None:
        raise NotFound("sweep", sweep_id)
    return sweep


def hold(session: Session, sweep_id: str) -> None:
    """Lock the sweep's row until the transaction ends.

    Everyone who changes a sweep or its trials takes this lock before any other row's, so that no two can deadlock:
    that is why pending changes of trials are not flushed first.
    """
    with session.no_autoflush:
        if session.scalar(select(Sweep.id).where(Sweep.id == sweep_id).with_for_update()) is None:
            raise NotFound("sweep", sweep_id)


def move(session: Session, sweep_id: str, to: SweepState, reason: str | None = None) -> Sweep:
    """Move a sweep, with its times, its event and, where it ends, the word to MLflow.

    Raises states.IllegalMove where the table does not permit it; the state that counts is the one in the database.
    """
    hold(session, sweep_id)
    sweep = get(session, sweep_id)
    session.refresh(sweep)
    before, now = sweep.state, time.time()
    sweep.state = states.move_sweep(before, to)  # type: ignore[arg-type]  # a column is plain text
    sweep.reason = reason
    if to == "running" and sweep.started_at is None:
        sweep.started_at = now
    if to in SWEEP_ENDED:
        sweep.ended_at = now
        session.add(OutboxEntry(sweep_id=sweep_id, kind="ended", payload={"state": to, "reason": reason, "at": now}))
    events.record(session, sweep_id, f"sweep.{to}", {"from": before, "reason": reason})
    return sweep


def apply(session: Session, sweep_id: str, verb: SweepVerb) -> Sweep:
    """Carry out a user's verb; one that finds its effect already there changes nothing. Raises states.IllegalMove."""
    hold(session, sweep_id)
    sweep = get(session, sweep_id)
    session.refresh(sweep)
    to = states.after_verb(sweep.state, verb)  # type: ignore[arg-type]  # a column is plain text
    return sweep if to == sweep.state else move(session, sweep_id, to)


def page(
    session: Session, wanted: Sequence[str] = (), limit: int = 50, before: tuple[float, str] | None = None
) -> list[Sweep]:
    """The newest sweeps first, in any of the ``wanted`` states (all if empty); ``before`` is (created_at, id)."""
    query = select(Sweep).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit)
    if wanted:
        query = query.where(Sweep.state.in_(wanted))
    return list(session.scalars(query.where(_older(before)) if before else query))


def counts(session: Session) -> dict[str, int]:
    """How many sweeps there are in each state."""
    rows = session.execute(select(Sweep.state, func.count()).group_by(Sweep.state))
    return dict(rows.all())


def _older(than: tuple[float, str]) -> ColumnElement[bool]:
    created_at, sweep_id = than
    return or_(Sweep.created_at < created_at, and_(Sweep.created_at == created_at, Sweep.id < sweep_id))
