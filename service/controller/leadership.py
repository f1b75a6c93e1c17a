"""Leadership: acquire the lease, renew it while the work makes progress, and notice when it is lost."""

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

log = logging.getLogger(__name__)

STUCK_SECONDS = 300.0
"""A tick that takes longer than this hangs in a call that cannot be interrupted, so the process exits."""


class Leadership:
    """This controller's part in the competition for the lease.

    ``with leadership.held(term)`` renews the lease from a separate thread, so that a long tick does not lose it.

    Attributes:
        holder: The unique name of this controller.
        lost: Set when another controller has taken over.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._database, self._seconds = database, seconds
        self._progress = time.monotonic()
        self.lost = threading.Event()

    def acquire(self) -> int | None:
        """Return the new term; None while another controller leads."""
        with self._database.write() as session:
            return leases.acquire(session, self.holder, self._seconds)

    def report_progress(self) -> None:
        """Report, between ticks, that the work goes on. Raise LeadLost if another controller has taken over."""
        self._progress = time.monotonic()
        if self.lost.is_set():
            raise LeadLost("another controller has taken over")

    @contextmanager
    def held(self, term: int) -> Iterator[None]:
        """Renew the lease during the block and release it at the end, so that the next controller need not wait."""
        done = threading.Event()
        self.lost.clear()
        self.report_progress()
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
                log.critical("No progress for %.0f s; this controller exits so that it can be restarted", STUCK_SECONDS)
                os._exit(70)
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
