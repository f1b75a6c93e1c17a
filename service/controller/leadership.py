"""Leading: acquire the lease, keep it while the work makes progress, notice when it is lost."""

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
"""A tick that takes longer hangs in a call that cannot be broken off; only a new process helps."""


class Leadership:
    """``with lead.kept(term)`` renews from a thread of its own, so that a long tick does not cost the lead."""

    def __init__(self, database: Database, seconds: float) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._database, self._seconds = database, seconds
        self._progress = time.monotonic()
        self.lost = threading.Event()

    def acquire(self) -> int | None:
        """The term to lead under, None while another leads."""
        with self._database.write() as session:
            return leases.acquire(session, self.holder, self._seconds)

    def progress(self) -> None:
        """Called between ticks: the work goes on. Raises LeadLost where the keeper found the lead gone."""
        self._progress = time.monotonic()
        if self.lost.is_set():
            raise LeadLost("another controller has taken the lead")

    @contextmanager
    def kept(self, term: int) -> Iterator[None]:
        """Lead while inside; handed on at the end, so that the next controller need not wait for the lease to end."""
        done = threading.Event()
        self.lost.clear()
        self.progress()
        keeper = threading.Thread(target=self._keep, args=(term, done), name="lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            if not self.lost.is_set():
                self._release(term)

    def _keep(self, term: int, done: threading.Event) -> None:
        while not done.wait(self._seconds / 3):
            if time.monotonic() - self._progress > STUCK_SECONDS:
                log.critical("no progress for %.0f s: this controller ends, to be started again", STUCK_SECONDS)
                os._exit(70)
            try:
                with self._database.write() as session:
                    leases.renew(session, term, self._seconds)
            except LeadLost:
                self.lost.set()
                return
            except SQLAlchemyError as error:
                log.warning("could not renew the lead, trying again: %s", error)

    def _release(self, term: int) -> None:
        try:
            with self._database.write() as session:
                leases.release(session, term)
        except SQLAlchemyError as error:
            log.warning("could not hand on the lead; the next controller waits until it runs out: %s", error)
