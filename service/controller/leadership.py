"""A controller's side of the lease (``store.leases``): a thread that renews it, and the check for a hung tick."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from service.store import leases
from service.store.database import Database, LeadLost
from service.store.tables import Lease

log = logging.getLogger(__name__)

STUCK_SECONDS = 300.0
"""If no tick succeeds for this many seconds while leading, whether in one term or in several, exit."""
EXIT_STATUS = 70
"""The status with which a controller ends that cannot go on by itself, so that another process takes its place."""


class Leadership:
    """Acquires the lease for this controller, renews it while ticks make progress, and notices when it is lost.

    ``with leadership.held(term)`` renews the lease from a separate thread, so that a long tick does not lose it.

    Args:
        database: The database with the lease.
        seconds: How long the lease lasts without a renewal; it is renewed three times as often.

    Attributes:
        holder: The unique name of this controller.
        lost: Set when a renewal finds that another controller has taken over; cleared by ``held``.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._database, self._seconds = database, seconds
        self._progress = time.monotonic()
        self._seen: leases.LeaseSight | None = None
        self._seen_at = 0.0
        self.lost = threading.Event()

    def acquire(self) -> int | None:
        """Take the lease and return the new term; return None, at once, if another controller holds it.

        A lease that was not renewed for ``seconds`` between two calls, on this process's monotonic clock, is taken even
        if it ends in the future: its holder is gone, and some clock was set.
        """
        term = None
        try:
            with self._database.write() as session:
                term = leases.acquire(session, self.holder, self._seconds, self._abandoned())
                self._note_sight(leases.current(session))
        finally:
            if term is None:  # waiting for another controller, or for the database, is no failure of ours
                self._progress = time.monotonic()
        return term

    def _abandoned(self) -> leases.LeaseSight | None:
        return self._seen if time.monotonic() - self._seen_at > self._seconds else None

    def _note_sight(self, lease: Lease | None) -> None:
        sight = leases.LeaseSight(lease.term, lease.expires_at) if lease else None
        if sight != self._seen:
            self._seen, self._seen_at = sight, time.monotonic()

    def report_progress(self) -> None:
        """Note that a tick has succeeded. If none does for ``STUCK_SECONDS``, the process exits with ``EXIT_STATUS``.

        The beginning of a term is no progress: a term that fails at once, and is begun again and again, is stuck too.

        Raises:
            LeadLost: If another controller has taken over.
        """
        self._progress = time.monotonic()
        if self.lost.is_set():
            raise LeadLost("another controller has taken over")

    @contextmanager
    def held(self, term: int) -> Iterator[None]:
        """Renew the lease of ``term`` from a thread during the block.

        At the end the lease is released, unless it was lost, so that the next controller need not wait.
        """
        done = threading.Event()
        self.lost.clear()
        renewer = threading.Thread(target=self._renew, args=(term, done), name="lease", daemon=True)
        renewer.start()
        try:
            yield
        finally:
            done.set()
            renewer.join()
            if not self.lost.is_set():
                self._release(term)

    def _renew(self, term: int, done: threading.Event) -> None:
        while not done.wait(self._seconds / 3):
            if time.monotonic() - self._progress > STUCK_SECONDS:
                log.critical("No tick succeeded for %.0f s; this controller exits to be restarted", STUCK_SECONDS)
                os._exit(EXIT_STATUS)
            try:
                with self._database.write() as session:
                    leases.renew(session, term, self._seconds)
            except LeadLost:
                self.lost.set()
                return
            except SQLAlchemyError as error:
                log.warning("Cannot renew the lease; trying again: %s", error)

    def _release(self, term: int) -> None:
        try:
            with self._database.write() as session:
                leases.release(session, term)
        except SQLAlchemyError as error:
            log.warning("Cannot release the lease; the next controller has to wait until it expires: %s", error)
