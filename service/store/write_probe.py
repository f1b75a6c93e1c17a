"""Whether the database takes writes: a full or read-only disk still answers every read."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from service.store.database import Database

log = logging.getLogger(__name__)

PROBE_SECONDS = 5.0
"""The least time, in seconds, between two probes of a process."""
PATIENCE_SECONDS = 1.0
"""How long the caller waits for a probe, in seconds, before it is told what the one before has found."""


class WriteProbe:
    """Writes to the database now and then, in a thread of its own, and says whether that works.

    The write changes nothing: it sets the version of the schema to what it is. It is committed, and therefore needs
    room on the disk like any other.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._started: float | None = None
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Return why nothing can be written to the database, in one line; None if it takes writes.

        The answer comes within ``PATIENCE_SECONDS``, and is at most some ``PROBE_SECONDS`` old.
        """
        with self._lock:
            due = self._started is None or (self._done.is_set() and self._age() > PROBE_SECONDS)
            if due:
                self._done.clear()
                self._started = time.monotonic()
                threading.Thread(target=self._probe, name="write-probe", daemon=True).start()
        if not self._done.wait(PATIENCE_SECONDS) and self._age() > PROBE_SECONDS:
            return f"a write has been waiting for {self._age():.0f} s"
        return self._problem

    def _age(self) -> float:
        return time.monotonic() - (self._started or 0.0)

    def _probe(self) -> None:
        found = None
        try:
            with self._database.write() as session:
                session.execute(text("UPDATE alembic_version SET version_num = version_num"))
        except SQLAlchemyError as error:
            found = _in_words(error)
        if found != self._problem:
            log.warning("The database %s", f"takes no writes: {found}" if found else "takes writes again")
        self._problem = found
        self._done.set()


def _in_words(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause) or type(cause).__name__).splitlines()[0][:200]
