"""Which open sweeps have trials to run. The database is asked again only about sweeps in which something has happened.

All of it is kept in memory: a new term asks about every sweep once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy.orm import Session

from service.controller.fair_share import QueuedSweep
from service.controller.node import Needs
from service.store import open_trials, packs, sweeps
from service.store.sweeps import OpenSweep

NEVER_LAUNCH = ("paused", "cancelling")
"""The states of open sweeps that start no trial. A queued one may have begun to run since it was read."""
IDLE_SECONDS = 5.0
"""A sweep without a trial to run is asked again after this many seconds, even if nothing has happened in it."""
AT_ONCE = 500
"""So many sweeps at most are named in one statement."""


@dataclass(frozen=True)
class _Asked:
    """What the database has said of a sweep.

    Attributes:
        event_seq: The sweep's last event when it was asked.
        at: When it was asked, on the monotonic clock.
        has_ready: Whether it had a trial to run.
        last_end: When its last pack has ended, on the wall clock; 0 if none has.
    """

    event_seq: int
    at: float
    has_ready: bool
    last_end: float


@dataclass(frozen=True)
class _Rest:
    """Until when a sweep need not be asked, on the monotonic clock, unless something happens in it; and why."""

    event_seq: int
    until: float
    why: str | None


class Demand:
    """Keeps which open sweeps have trials to run, since when they wait, and what their packs need."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}
        self._rests: dict[str, _Rest] = {}
        self._needs: dict[str, Needs] = {}

    def queue(self, session: Session, open_sweeps: Sequence[OpenSweep]) -> list[QueuedSweep]:
        """Return the sweeps that have trials to run, without those that rest."""
        launchable = [sweep for sweep in open_sweeps if sweep.state not in NEVER_LAUNCH]
        for some in _parts([sweep for sweep in launchable if self._is_due(sweep)]):
            self._ask(session, some)
        return [
            QueuedSweep(
                sweep.id,
                sweep.owner,
                self._needs[sweep.id],
                sweep.priority,
                sweep.max_parallel,
                max(sweep.queued_at, self._asked[sweep.id].last_end),
            )
            for sweep in launchable
            if self._asked[sweep.id].has_ready and self.rest_of(sweep) is None
        ]

    def rest(self, sweep: OpenSweep, seconds: float = IDLE_SECONDS, why: str | None = None) -> None:
        """Leave a sweep out for at most so long, because it has no trial that could run now.

        Args:
            sweep: The sweep.
            seconds: For how long, at most ``IDLE_SECONDS``.
            why: What its trials wait for, for a person to read; None if it has no trials that wait.
        """
        self._rests[sweep.id] = _Rest(sweep.event_seq, time.monotonic() + min(seconds, IDLE_SECONDS), why)

    def rest_of(self, sweep: OpenSweep) -> _Rest | None:
        """Return why a sweep is left out; None if it is not."""
        found = self._rests.get(sweep.id)
        if found is None or found.event_seq != sweep.event_seq or time.monotonic() >= found.until:
            return None
        return found

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of a sweep that has ended."""
        for kept in (self._asked, self._rests, self._needs):
            kept.pop(sweep_id, None)

    def _is_due(self, sweep: OpenSweep) -> bool:
        found = self._asked.get(sweep.id)
        if found is None or found.event_seq != sweep.event_seq:
            return True
        return not found.has_ready and time.monotonic() - found.at >= IDLE_SECONDS

    def _ask(self, session: Session, some: Sequence[OpenSweep]) -> None:
        now, ids = time.monotonic(), [sweep.id for sweep in some]
        ready, ends = open_trials.sweeps_with_ready(session, ids), packs.last_ends(session, ids)
        for sweep_id, stored in sweeps.resources(session, [id for id in ids if id not in self._needs]).items():
            self._needs[sweep_id] = Needs.stored(stored)
        for sweep in some:
            is_there = sweep.id in ready and sweep.id in self._needs
            self._asked[sweep.id] = _Asked(sweep.event_seq, now, is_there, ends.get(sweep.id, 0.0))


def _parts(some: Sequence[OpenSweep]) -> Iterator[list[OpenSweep]]:
    left = iter(some)
    while part := list(islice(left, AT_ONCE)):
        yield part
