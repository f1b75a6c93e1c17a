"""The migration that adds estimates, up and down in a database with a sweep."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from service.store import cost_samples, migrations
from service.store.database import Database
from tests.service.estimates.examples import measured, seeds, sweep_of
from tests.service.store.test_migration_of_webhooks import SWEEP, migrate


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_measurements_come_and_go_and_sweeps_stay(backend: str, empty_url: str) -> None:
    database = Database(empty_url)
    migrate(database, "0012")
    with database.engine.execution_options(write=True).begin() as connection:
        connection.execute(text(SWEEP))
        connection.execute(text("UPDATE sweeps SET eta_at = 5.0"))
    with database.write() as session:
        cost_samples.add(session, [measured(sweep_of(space=seeds(2))[1])])
    migrate(database, "-1")
    assert "cost_samples" not in inspect(database.engine).get_table_names()
    assert "eta_at" not in {column["name"] for column in inspect(database.engine).get_columns("sweeps")}
    migrations.upgrade(empty_url)
    with database.read() as session:
        assert cost_samples.known(session, on_gpu=False) == []
        assert session.execute(text("SELECT name, eta_at FROM sweeps")).all() == [("kept", None)]
    database.close()
