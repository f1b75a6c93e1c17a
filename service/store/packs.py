"""Packs and the attempts of their trials. Pure functions of a session; the caller commits.

An attempt is open while its ``ended_at`` is empty. ``lost`` attempts carry the cause ``process`` (the runner died or
could not be reached) or ``cluster`` (all of Ray went; no trial is to blame).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.tables import Attempt, Pack, Trial

LOST = "lost"
LostCause = Literal["process", "cluster"]


def open_packs(session: Session) -> list[Pack]:
    """Those planned or started, the oldest first."""
    return list(session.scalars(select(Pack).where(Pack.state != "ended").order_by(Pack.created_at, Pack.id)))


def plan(session: Session, trials: Sequence[Trial], cpus: float, gpus: float, term: int) -> Pack:
    """A planned pack for these trials of one sweep, with one new attempt each."""
    sweep_id = trials[0].sweep_id
    count = session.scalar(select(func.count()).select_from(Pack).where(Pack.sweep_id == sweep_id)) or 0
    pack = Pack(
        id=f"{sweep_id}-{count + 1}", sweep_id=sweep_id, state="planned", trial_ids=[t.id for t in trials],
        cpus=cpus, gpus=gpus, term=term, created_at=time.time(),
    )  # fmt: skip
    session.add(pack)
    session.flush()
    last = last_attempts(session, [t.id for t in trials])
    for trial in trials:
        number = last[trial.id].number + 1 if trial.id in last else 1
        session.add(Attempt(trial_id=trial.id, number=number, pack_id=pack.id, from_step=trial.step))
        trial.pack_id = pack.id
    session.flush()
    return pack


def attempts(session: Session, pack_id: str) -> list[Attempt]:
    return list(session.scalars(select(Attempt).where(Attempt.pack_id == pack_id).order_by(Attempt.trial_id)))


def open_attempts(session: Session, pack_id: str) -> dict[str, Attempt]:
    """The attempts of a pack that have not ended, by trial."""
    return {a.trial_id: a for a in attempts(session, pack_id) if a.ended_at is None}


def last_attempts(session: Session, trial_ids: Iterable[str]) -> dict[str, Attempt]:
    """The newest attempt of each trial that has had one."""
    query = select(Attempt).where(Attempt.trial_id.in_(list(trial_ids))).order_by(Attempt.number)
    return {attempt.trial_id: attempt for attempt in session.scalars(query)}


def attempt_number(session: Session, pack_id: str) -> int:
    """The pack's own attempt: the highest of its trials', so that no two runners ever share a name."""
    return session.scalar(select(func.max(Attempt.number)).where(Attempt.pack_id == pack_id)) or 0


def end_attempt(attempt: Attempt, outcome: str, cause: str | None, reason: str | None) -> None:
    attempt.outcome, attempt.cause, attempt.reason, attempt.ended_at = outcome, cause, reason, time.time()


def end(pack: Pack, reason: str | None = None) -> None:
    pack.state, pack.reason, pack.ended_at = "ended", reason, time.time()
