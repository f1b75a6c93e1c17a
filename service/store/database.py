"""The database connection: SQLite in WAL mode or PostgreSQL, with one transaction for each ``with`` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from service.store.tables import Lease

LEADER = "controller"
"""The name of the row in ``leases`` that the controllers compete for."""
BUSY_SECONDS = 10
"""How many seconds a transaction on SQLite waits for another writer before it raises OperationalError."""


DAMAGED = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN")
"""How the names of those of SQLite's errors begin that come from its file, whatever the statement was."""
BROKEN = ("08", "53", "57", "58", "25006")
"""How the codes of those of PostgreSQL's errors begin that come from its connection, its disk or its read-only mode."""


class LeadLost(RuntimeError):
    """The controller no longer leads: its term is not the current one, or a runner obeys a newer term.

    Writes of an old term raise it, and so do checks outside any transaction. An open transaction is rolled back.
    """


class Database:
    """Connects to a database, and opens sessions in a transaction with ``read()`` and ``write()``.

    An exception inside the ``with`` block rolls the whole transaction back.

    Args:
        url: An SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://...``.
        patience: How many seconds a transaction waits for another writer, and a block for a free connection, before
            OperationalError or sqlalchemy.exc.TimeoutError is raised; None for ``BUSY_SECONDS`` on SQLite and the
            server's own limits on PostgreSQL.
        connections: The most connections; None for SQLAlchemy's default of 15.
    """

    def __init__(self, url: str, *, patience: float | None = None, connections: int | None = None) -> None:
        self.url = make_url(url)
        sqlite = self.url.get_backend_name() == "sqlite"
        pool: dict[str, Any] = {} if connections is None else {"pool_size": connections, "max_overflow": 0}
        pool |= {} if patience is None else {"pool_timeout": patience}
        self.engine = _sqlite(url, patience, pool) if sqlite else _postgresql(url, patience, pool)
        # PostgreSQL's statements see one state each, in a transaction or not; without one a read saves two round trips
        self._reading = self.engine if sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading; nothing may be changed in it."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self, term: int | None = None) -> Iterator[Session]:
        """Open a session for writing, and commit it at the end of the block if that raises nothing.

        Args:
            term: The leadership term that the write belongs to; None for a write that needs no leadership.

        Raises:
            LeadLost: If ``term`` is no longer the leader's. The lease's row stays locked during the block, so that no
                other controller can begin a new term before the commit.
        """
        engine = self.engine.execution_options(write=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            if term is not None:
                lease = session.scalar(select(Lease).where(Lease.name == LEADER).with_for_update())
                if lease is None or lease.term != term:
                    raise LeadLost(
                        f"leadership term {term} has ended (current term: {lease.term if lease else 'none'})"
                    )
            yield session

    def close(self) -> None:
        """Close all connections that no block is using."""
        self.engine.dispose()


def is_unavailable(error: BaseException) -> bool:
    """Return whether an error means that the database cannot be used, and not that a statement was wrong.

    It cannot be reached, is locked, its disk is full or failing, or it is read-only or damaged. Whoever wanted to
    write is not to blame, and the same write may succeed later.
    """
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    name = str(getattr(error.orig, "sqlite_errorname", ""))
    code = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or name.startswith(DAMAGED) or code.startswith(BROKEN)


def _postgresql(url: str, patience: float | None, pool: dict[str, Any]) -> Engine:
    limits: dict[str, Any] = {}
    if patience is not None:
        own = str(make_url(url).query.get("options", ""))
        limits = {"options": f"{own} -c lock_timeout={round(1000 * patience)}".strip(), "connect_timeout": 5}
    return create_engine(url, pool_pre_ping=True, connect_args=limits, **pool)


def _sqlite(url: str, patience: float | None, pool: dict[str, Any]) -> Engine:
    seconds = BUSY_SECONDS if patience is None else patience
    engine = create_engine(url, connect_args={"timeout": seconds, "check_same_thread": False}, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late and upgrades read locks
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes the write lock at once, so that two transactions never deadlock on an upgrade
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")

    return engine
