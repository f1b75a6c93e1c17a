"""What is stored with a sweep for its views: at its creation, and by the migration for sweeps that were there."""

from __future__ import annotations

import importlib
import json
from typing import Any

import httpx
import pytest
from alembic import command
from sqlalchemy import Connection, text

from service.api.submission import stored
from service.settings import ApiSettings
from service.store import migrations, sweeps
from service.store.database import Database
from service.store.sweep_summary import facts_of
from tests.service.conftest import serving
from workers.spec.expand import trial_count
from workers.spec.parse import parse_sweep

BACKENDS = ["sqlite", "postgresql"]
ANCIENT = {"task": {"name": "a task of long ago", "size": 3}, "model": {"kind": "forgotten"}, "training": {"steps": 7}}
"""A document that this version refuses in every part."""

OF_EARLIER = [
    {"task": {"name": "adding"}, "training": {"steps": 10}, "space": {"model.margin": {"values": [0.01, 0.1]}}},
    {"task": {"name": "digits"}, "space": {"training.steps": {"values": [10, 30]}}},
    {"task": {"name": "copy"}, "objective": {"metric": "val/recall"}, "space": {"model.margin": [0.1]}},
    {"task": {"name": "digits"}, "objective": {"direction": "minimize"}, "space": {"model.margin": [0.1]}},
]


def to(database: Database, revision: str) -> None:
    """Migrate the database up or down to a revision."""
    settings = migrations.config()
    with database.engine.execution_options(write=True).begin() as connection:
        settings.attributes["connection"] = connection
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
        move = command.upgrade if current is None or current < revision else command.downgrade
        move(settings, revision)


def insert(connection: Connection, id: str, spec: dict[str, Any], trials: int, state: str = "running") -> None:
    """Store a sweep as the release before did."""
    connection.execute(
        text(
            "INSERT INTO sweeps (id, name, state, spec, trial_count, event_seq, created_at) "
            "VALUES (:id, 'old', :state, :spec, :trials, 0, 1.0)"
        ),
        {"id": id, "state": state, "spec": json.dumps(spec), "trials": trials},
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_sweeps_of_an_earlier_release_get_the_facts_that_new_ones_have(
    backend: str, url: str, database: Database
) -> None:
    to(database, "0003")
    specs = [parse_sweep(document) for document in OF_EARLIER]
    with database.engine.begin() as connection:
        for number, spec in enumerate(specs):
            insert(connection, f"sw000000000{number}", stored(spec), trial_count(spec))
    migrations.upgrade(url)
    with database.read() as session:
        for number, spec in enumerate(specs):
            row = sweeps.get(session, f"sw000000000{number}")
            assert (row.metric, row.direction, row.planned_steps, row.steps_vary) == facts_of(spec)[:4]
            assert row.advice is None
    to(database, "0003")
    with database.engine.connect() as connection:
        kept = connection.execute(text("SELECT id, trial_count FROM sweeps ORDER BY id")).all()
    assert kept == [(f"sw000000000{number}", trial_count(spec)) for number, spec in enumerate(specs)]
    migrations.upgrade(url)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_document_that_this_version_refuses_is_shown_for_ever(
    backend: str, url: str, database: Database, settings: ApiSettings
) -> None:
    to(database, "0003")
    with database.engine.begin() as connection:
        insert(connection, "sw0000000000", ANCIENT, 4)
        insert(connection, "sw0000000001", {}, 1, "succeeded")
    migrations.upgrade(url)
    with serving(settings) as address, httpx.Client(base_url=address, timeout=60) as api:
        listed = {sweep["id"]: sweep for sweep in api.get("/v1/sweeps").json()["sweeps"]}
        assert listed["sw0000000000"]["progress"] == {"done": 0, "total": 28}
        for id, spec in (("sw0000000000", ANCIENT), ("sw0000000001", {})):
            shown = api.get(f"/v1/sweeps/{id}").json()
            assert (shown["spec"], shown["warnings"]) == (spec, [])
            assert shown["objective"] == {"metric": "val/loss", "direction": "minimize"}
            assert api.get(f"/v1/sweeps/{id}/trials?sort=objective").json()["trials"] == []
            assert api.get(f"/v1/sweeps/{id}/report").json()["places"] == []
            assert api.get(f"/v1/sweeps/{id}/data").status_code == 404
        assert api.post("/v1/sweeps/sw0000000000/cancel").status_code == 202


def test_the_migration_imports_nothing_of_the_present_version() -> None:
    module = importlib.import_module("service.store.migrations.versions.0004_sweep_facts")
    owners = {getattr(thing, "__module__", "") or "" for thing in vars(module).values()}
    assert not [owner for owner in owners if owner.startswith("workers")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ("val/loss", "minimize", 0, False)),
        ({"task": {"name": "own_data"}}, ("val/accuracy", "maximize", 0, False)),
        ({"task": {"name": "own_data", "kind": "regression"}}, ("val/loss", "minimize", 0, False)),
        ({"task": [], "space": 3, "training": None}, ("val/loss", "minimize", 0, False)),
        ({"space": {"training.steps": {"low": 10, "high": 20}}}, ("val/loss", "minimize", 60, True)),
        ({"space": {"training.steps": {"values": []}}}, ("val/loss", "minimize", 0, True)),
    ],
)
def test_facts_of_strange_documents(spec: dict[str, Any], expected: tuple[Any, ...]) -> None:
    module = importlib.import_module("service.store.migrations.versions.0004_sweep_facts")
    assert tuple(module.facts_of(spec, 4).values()) == expected
