"""The migration that adds the webhooks, up and down in a database with sweeps."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import inspect, text

from service.store import migrations
from service.store.database import Database

SWEEP = """
INSERT INTO sweeps (id, name, state, spec, trial_count, event_seq, created_at)
VALUES ('sw0123456789', 'kept', 'succeeded', '{}', 1, 0, 1.0)
"""
MESSAGE = """
INSERT INTO webhook_messages (id, webhook, kind, sweep_id, at, tries, gave_up)
VALUES ('msg_1', 'chat', 'sweep.ended', 'sw0123456789', 1.0, 0, false)
"""


def migrate(database: Database, to: str) -> None:
    with database.engine.execution_options(write=True).begin() as connection:
        settings = migrations.config()
        settings.attributes["connection"] = connection
        (command.downgrade if to == "-1" else command.upgrade)(settings, to)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_webhooks_come_and_go_and_sweeps_stay(backend: str, empty_url: str) -> None:
    database = Database(empty_url)
    migrate(database, "0007")
    with database.engine.execution_options(write=True).begin() as connection:
        connection.execute(text(SWEEP))
        connection.execute(text(MESSAGE))
        connection.execute(text("INSERT INTO webhooks (name, events) VALUES ('chat', '[\"sweep.ended\"]')"))
    migrate(database, "-1")
    assert not {"webhooks", "webhook_messages"} & set(inspect(database.engine).get_table_names())
    migrate(database, "0007")
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM sweeps")) == "kept"
        assert connection.scalar(text("SELECT count(*) FROM webhook_messages")) == 0
    database.close()
