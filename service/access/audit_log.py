"""Write the audit log beside the requests: entries wait in memory for at most a second, and are stored together.

A flood of refused requests therefore costs one transaction a second, and no request waits for the log. What waits when
the process is killed is lost.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from service.store import audit, tokens
from service.store.database import Database
from service.store.tables import AuditEntry

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MAX_WAITING = 2_000
"""More entries than this are counted, but not stored one by one."""
PRUNE_SECONDS = 600.0
SPARING_SECONDS = 300.0
"""The last use of a token is stored no more often than this."""


class AuditLog:
    """Collects entries, and stores them from a thread of its own between ``start`` and ``close``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: list[AuditEntry] = []
        self._used: set[str] = set()
        self._left_out = 0
        self._pruned_at = float("-inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after a last look, so that what waits is stored."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def note(self, entry: AuditEntry) -> None:
        """Let an entry wait until it is stored."""
        entry.at = time.time()
        # strangers choose paths; PostgreSQL stores no NUL, and would refuse all that waits together with it, for ever
        entry.action = entry.action.replace("\0", "\N{REPLACEMENT CHARACTER}")
        with self._lock:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(entry)
            else:
                self._left_out += 1

    def note_use(self, token_id: str) -> None:
        """Remember that a token was used now."""
        with self._lock:
            self._used.add(token_id)

    def flush(self) -> None:
        """Store what waits. If the database refuses it, it waits on."""
        with self._lock:
            entries, self._waiting = self._waiting, []
            used, self._used = self._used, set()
            left_out, self._left_out = self._left_out, 0
        prune = time.monotonic() - self._pruned_at > PRUNE_SECONDS
        if not (entries or used or prune):
            return
        more = [_left_out(left_out)] if left_out else []
        try:
            with self._database.write() as session:
                audit.record(session, [_copy(entry) for entry in (*entries, *more)])
                if used:
                    tokens.note_use(session, used, time.time(), SPARING_SECONDS)
                if prune:
                    audit.prune(session)
        except SQLAlchemyError as error:
            log.warning("the audit log cannot be written, trying again: %s", type(error).__name__)
            with self._lock:
                self._waiting = entries + self._waiting
                self._used |= used
                self._left_out += left_out
            return
        if prune:
            self._pruned_at = time.monotonic()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self.flush()
        self.flush()


def _copy(entry: AuditEntry) -> AuditEntry:
    """Return an entry that no session knows: the one of a transaction that failed cannot be added again."""
    names = (column.key for column in AuditEntry.__table__.columns if column.key != "id")
    return AuditEntry(**{name: getattr(entry, name) for name in names})


def _left_out(count: int) -> AuditEntry:
    reason = f"{count:,} more requests came too fast to be written one by one"
    return AuditEntry(at=time.time(), action="(left out)", client="", status=429, reason=reason)
