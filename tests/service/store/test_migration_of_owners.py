"""The migration that gives sweeps and keys an owner, up and down, with rows in the tables, on both databases."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.store import migrations
from service.store.database import Database

BACKENDS = ["sqlite", "postgresql"]
REVISION = "0006"


def before(revision: str) -> str:
    """Return the revision that comes before another one."""
    found = ScriptDirectory.from_config(migrations.config()).get_revision(revision)
    assert isinstance(found.down_revision, str)
    return found.down_revision


def run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


def rows(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(text(query))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_get_the_local_owner_and_survive_the_way_back(backend: str, empty_url: str) -> None:
    database = Database(empty_url)
    migrations.upgrade(empty_url, before(REVISION))
    with database.engine.begin() as connection:
        for id in ("sw0000000001", "sw0000000002"):
            run(
                connection,
                "INSERT INTO sweeps (id, name, state, spec, trial_count, event_seq, created_at)"
                f" VALUES ('{id}', 'n', 'queued', '{{}}', 1, 1, 5)",
            )
            run(
                connection,
                f"INSERT INTO events (sweep_id, seq, kind, data, at) VALUES ('{id}', 1, 'sweep.queued', '{{}}', 5)",
            )
        run(
            connection,
            "INSERT INTO idempotency_keys (key, body_hash, sweep_id, created_at) VALUES ('k', 'h', 'sw0000000001', 5)",
        )
    migrations.upgrade(empty_url, REVISION)
    with database.engine.begin() as connection:
        assert rows(connection, "SELECT DISTINCT owner FROM sweeps") == [("local",)]
        assert rows(connection, "SELECT owner, key, sweep_id FROM idempotency_keys") == [("local", "k", "sw0000000001")]
        run(
            connection,
            "INSERT INTO idempotency_keys (owner, key, body_hash, sweep_id, created_at)"
            " VALUES ('ada', 'k', 'h', 'sw0000000002', 6), ('ada', 'other', 'h', 'sw0000000002', 6)",
        )
    migrations.downgrade(empty_url, before(REVISION))
    with database.engine.begin() as connection:
        kept = rows(connection, "SELECT key, sweep_id FROM idempotency_keys ORDER BY key")
        assert kept == [("k", "sw0000000001"), ("other", "sw0000000002")]
        assert rows(connection, "SELECT count(*) FROM sweeps") == [(2,)]
        assert rows(connection, "SELECT count(*) FROM events") == [(2,)]
        assert "owner" not in {column["name"] for column in inspect(connection).get_columns("sweeps")}
        assert not {"tokens", "owners", "sessions", "audit"} & set(inspect(connection).get_table_names())
    migrations.upgrade(empty_url, REVISION)
    with database.engine.begin() as connection:
        assert rows(connection, "SELECT DISTINCT owner FROM idempotency_keys") == [("local",)]
    database.close()
