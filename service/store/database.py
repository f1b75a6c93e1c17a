"""Opening the database: SQLite in WAL mode or PostgreSQL, one transaction per ``with``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.orm import Session

from service.store.tables import Lease

LEADER = "controller"
BUSY_SECONDS = 10


class LeadLost(RuntimeError):
    """A write under a term that is no longer the leader's; nothing of it was stored."""


class Database:
    """``read()`` and ``write()`` give a session in a transaction; an error rolls back all of it.

    url: an SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://...``.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite(url) if sqlite else create_engine(url, pool_pre_ping=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, term: int | None = None) -> Iterator[Session]:
        """A write transaction; with ``term``, only while that term leads (LeadLost otherwise)."""
        engine = self.engine.execution_options(write=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            if term is not None:
                lease = session.scalar(select(Lease).where(Lease.name == LEADER).with_for_update())
                if lease is None or lease.term != term:
                    raise LeadLost(f"term {term} no longer leads (now {lease.term if lease else 'none'})")
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come late and upgrade read locks
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes the write lock at once: two transactions can then never deadlock on an upgrade
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")

    return engine
