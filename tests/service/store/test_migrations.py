"""The migrations create the tables of ``service.store.tables``, on both databases, also if several run at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from service.store import migrations
from service.store.database import Database
from service.store.tables import Base

BACKENDS = ["sqlite", "postgresql"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_migrated_tables_are_those_of_tables_py(backend: str, database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_processes_may_migrate_at_once(backend: str, empty_url: str) -> None:
    code = "import sys; from service.store import migrations; migrations.upgrade(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", code, empty_url], stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    database = Database(empty_url)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    database.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_migrating_again_keeps_what_is_there(backend: str, url: str, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO leases VALUES ('controller', 'me', 7, 0)"))
    migrations.upgrade(url)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT term FROM leases")) == 7


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_migration_leaves_no_table(backend: str, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Config, revision: str) -> None:
        migrate(settings, revision)
        raise ArithmeticError("power cut")

    migrate = command.upgrade
    monkeypatch.setattr(command, "upgrade", broken)
    with pytest.raises(ArithmeticError):
        migrations.upgrade(empty_url)
    database = Database(empty_url)
    assert inspect(database.engine).get_table_names() == []
    database.close()
