"""Schema migrations with Alembic.

Every change of ``service.store.tables`` needs a new revision in ``versions``. A test compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
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


class UnknownRevision(RuntimeError):
    """The database, or the caller, names a revision of the schema that this release does not have."""


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at ``url`` to the newest schema, or to ``revision``. Any number of processes may do so.

    All revisions run in one transaction, so that a crash leaves no half-migrated schema. The write lock (SQLite) or an
    advisory lock (PostgreSQL) lets one process in at a time.

    Raises:
        sqlalchemy.exc.OperationalError: If the database does not answer, or if an SQLite file stays locked for
            ``RETRY_SECONDS``.
        UnknownRevision: If the database was written by a newer release.
    """
    _run(url, command.upgrade, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database at ``url`` back to an earlier schema, for the release that had it as its newest one.

    What the earlier schema has no place for is lost. Everything that uses the database must be stopped.

    Args:
        url: The database.
        revision: A revision in ``versions``, such as ``0003``, or ``base`` for a database without tables.

    Raises:
        sqlalchemy.exc.OperationalError: If the database does not answer.
        UnknownRevision: If the database was written by a newer release, or if this one does not have ``revision``.
    """
    _run(url, command.downgrade, revision)


def current(url: str) -> str | None:
    """Return the revision of the database at ``url``; None if it has no tables yet."""
    database = Database(url)
    try:
        with database.engine.connect() as connection:
            return _revision(connection)
    finally:
        database.close()


def _run(url: str, migrate: Callable[[Config, str], None], revision: str) -> None:
    database = Database(url)
    until = time.monotonic() + RETRY_SECONDS
    try:
        while True:
            try:
                return _migrate(database, migrate, revision)
            except OperationalError as error:
                # SQLite does not wait for its lock while it switches a new file to WAL mode
                if "database is locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.05)
    finally:
        database.close()


def _migrate(database: Database, migrate: Callable[[Config, str], None], revision: str) -> None:
    with database.engine.execution_options(write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        settings = config()
        _check_known(settings, _revision(connection), revision)
        settings.attributes["connection"] = connection
        migrate(settings, revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _check_known(settings: Config, found: str | None, wanted: str) -> None:
    scripts = ScriptDirectory.from_config(settings)
    newest = scripts.get_current_head()
    for revision, whose in ((found, "the database has"), (wanted, "you ask for")):
        try:
            scripts.get_revision(revision or "base")
        except CommandError as error:
            raise UnknownRevision(
                f"{whose} schema revision {revision}, which this release does not know; its newest is {newest}. Use "
                f"the release that wrote it, or let that release take the database back: "
                f"python -m service.store.migrations downgrade {newest}"
            ) from error
