"""Schema migrations (Alembic). A change of models.py gets a revision in ``versions``; a test compares the two."""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.store.database import Database

LOCK = 0x5BEC7A1
PATIENCE_SECONDS = 30.0


def config() -> Config:
    """Alembic's configuration, found beside this file wherever the package is installed."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return found


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to the newest schema; any number of processes may do so at once.

    One transaction does all: the write lock (SQLite) or an advisory lock (PostgreSQL) lets one in at a time, and a
    crash in the middle leaves nothing behind. Raises sqlalchemy's OperationalError where the database does not answer.
    """
    database = Database(url)
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            try:
                return _upgrade(database)
            except OperationalError as error:
                # switching a new SQLite file to WAL does not wait for others who do the same
                if "database is locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.05)
    finally:
        database.close()


def _upgrade(database: Database) -> None:
    with database.engine.execution_options(write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
