"""Moments of a sweep by the work that was done, seen in the tables and on the disk; none of them is a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED
from service.store.tables import OutboxEntry, Pack, Projection, Sweep, Trial, TrialReport
from tests.faults.documents import REPORT_EVERY, STEPS
from tests.faults.living_stack import LivingStack
from tests.faults.watchers import half_checkpoints

LOOK_SECONDS = 0.005
LOST_SECONDS = 300.0
"""A moment that has not come by then never comes."""


def _at_once(_stack: LivingStack, _session: Session, _sweep_id: str) -> bool:
    return True


def _pack_planned(_stack: LivingStack, session: Session, sweep_id: str) -> bool:
    query = select(Pack.id).where(Pack.sweep_id == sweep_id, Pack.state == "planned")
    return session.scalar(query.limit(1)) is not None


def _first_report(_stack: LivingStack, session: Session, sweep_id: str) -> bool:
    return _reports(session, sweep_id) > 0


def _middle(_stack: LivingStack, session: Session, sweep_id: str) -> bool:
    count = session.scalar(select(func.count()).select_from(Trial).where(Trial.sweep_id == sweep_id)) or 0
    return 0 < count * STEPS / REPORT_EVERY * 0.4 <= _reports(session, sweep_id)


def _half_checkpoint(stack: LivingStack, _session: Session, sweep_id: str) -> bool:
    folder = stack.home.checkpoints / sweep_id
    return any(half_checkpoints(folder) for _ in range(20))  # one lives for an instant: look often


def _end_unread(stack: LivingStack, session: Session, sweep_id: str) -> bool:
    running = session.scalars(select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state == "running"))
    last = f"step-{STEPS:09d}"
    folder = stack.home.checkpoints / sweep_id
    return any((folder / trial_id / last / "manifest.json").exists() for trial_id in running)


def _outbox_half_drained(_stack: LivingStack, session: Session, sweep_id: str) -> bool:
    begun = session.get(Projection, sweep_id) is not None
    left = select(OutboxEntry.id).where(OutboxEntry.sweep_id == sweep_id, OutboxEntry.kind == "metrics")
    return begun and session.scalar(left.limit(1)) is not None


def _reports(session: Session, sweep_id: str) -> int:
    query = select(func.count()).select_from(TrialReport).join(Trial, Trial.id == TrialReport.trial_id)
    return session.scalar(query.where(Trial.sweep_id == sweep_id)) or 0


BEFORE, UNANSWERED = "before the submission", "the submission not answered"
"""Two moments that come before the sweep has an id: before it is submitted, and when it is stored."""

MOMENTS: dict[str, Callable[[LivingStack, Session, str], bool]] = {
    "at once": _at_once,
    "a pack planned, not started": _pack_planned,
    "a first report": _first_report,
    "a checkpoint half written": _half_checkpoint,
    "in the middle": _middle,
    "a trial ended, its end not read": _end_unread,
    "the outbox half drained": _outbox_half_drained,
}
"""By name how to see that it is there. ``at once`` is the moment after the submission, a verb or a first fault."""


def wait_for(stack: LivingStack, sweep_id: str, moment: str) -> bool:
    """Wait for a moment of a sweep.

    Returns:
        Whether it came; False if the sweep ended before, or if it did not come within ``LOST_SECONDS``.
    """
    end = time.monotonic() + LOST_SECONDS
    while time.monotonic() < end:
        with suppress(SQLAlchemyError, sqlite3.Error), stack.database.read() as session:
            if MOMENTS[moment](stack, session, sweep_id):
                return True
            if session.get_one(Sweep, sweep_id).state in SWEEP_ENDED:
                return False
        time.sleep(LOOK_SECONDS)
    return False
