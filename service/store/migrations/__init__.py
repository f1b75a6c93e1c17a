"""Schema migrations with Alembic.

Every change of ``tables.py`` needs a new revision in ``versions``. A test compares the two.
"""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.store.database import Database

LOCK = 0x5BEC7A1
"""The number of the PostgreSQL advisory lock that lets one process migrate at a time."""
RETRY_SECONDS = 30.0
"""For how many seconds a locked SQLite file is tried again."""


def config() -> Config:
    """Return Alembic's configuration, with the revisions in the folder of this file."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return found


def upgrade(url: str) -> None:
    """Migrate the database at ``url`` to the newest schema. Any number of processes may do so at once.

    All revisions run in one transaction, so that a crash leaves no half-migrated schema. The write lock (SQLite) or an
    advisory lock (PostgreSQL) lets one process in at a time.

    Raises:
        sqlalchemy.exc.OperationalError: If the database does not answer, or if an SQLite file stays locked for
            ``RETRY_SECONDS``.
        alembic.util.CommandError: If the database has a revision that this version does not know.
    """
    database = Database(url)
    until = time.monotonic() + RETRY_SECONDS
    try:
        while True:
            try:
                return _upgrade(database)
            except OperationalError as error:
                # SQLite does not wait for its lock while it switches a new file to WAL mode
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
