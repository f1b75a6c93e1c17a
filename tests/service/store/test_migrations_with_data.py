"""Rows of a real database of release 0.1.0 live through every migration, up and down, on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, text

from service.store import migrations, sweeps, trials
from service.store.database import Database
from workers.spec.expand import plan_trial, points_of
from workers.spec.sweep import SweepSpec

BACKENDS = ["sqlite", "postgresql"]
ARCHIVE = Path(__file__).parents[2] / "data" / "home_0_1_0.tar.gz"
RENAMED = {"0002": {"epoch": "term"}}
"""The columns that a revision renames: the old name and the new one."""
REVISIONS = [found.revision for found in ScriptDirectory.from_config(migrations.config()).walk_revisions()][::-1]
"""All revisions, the oldest first."""

Rows = dict[str, list[dict[str, Any]]]
"""The rows of a database by table, in order of the primary key."""


@pytest.fixture
def old_url(empty_url: str, tmp_path: Path) -> str:
    """The URL of a database in the schema of release 0.1.0, with the rows of a real one."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extract("home/spectral.db", tmp_path, filter="data")
    frozen = f"sqlite:///{tmp_path / 'home' / 'spectral.db'}"
    migrations.upgrade(empty_url, REVISIONS[0])
    for table, rows in rows_of(frozen).items():
        write(empty_url, table, rows)
    return empty_url


def tables_of(database: Database) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(database.engine)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def rows_of(url: str) -> Rows:
    database = Database(url)
    with database.engine.connect() as connection:
        found = {
            table.name: [
                dict(row) for row in connection.execute(table.select().order_by(*table.primary_key.columns)).mappings()
            ]
            for table in tables_of(database)
        }
    database.close()
    return found


def write(url: str, name: str, rows: list[dict[str, Any]]) -> None:
    database = Database(url)
    with database.engine.execution_options(write=True).begin() as connection:
        (table,) = (table for table in tables_of(database) if table.name == name)
        if rows:
            connection.execute(table.insert(), rows)
    database.close()


def assert_kept(before: Rows, after: Rows, renamed: dict[str, str]) -> None:
    """Check that tables and columns that both have hold the same rows."""
    for name in before.keys() & after.keys():
        assert len(before[name]) == len(after[name]), name
        for old, new in zip(before[name], after[name], strict=True):
            old_names = {renamed.get(column, column): value for column, value in old.items()}
            shared = old_names.keys() & new.keys()
            assert shared, name
            assert {key: new[key] for key in shared} == {key: old_names[key] for key in shared}, name


def steps(url: str, migrate: Callable[[str, str], None], revisions: list[str]) -> Iterator[tuple[str, Rows, Rows]]:
    """Migrate to one revision after the other; give each with the rows before and after it."""
    before = rows_of(url)
    for revision in revisions:
        migrate(url, revision)
        assert migrations.current(url) == revision
        after = rows_of(url)
        yield revision, before, after
        before = after


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_revision_keeps_the_rows_up_and_down_and_up_again(backend: str, old_url: str) -> None:
    oldest = rows_of(old_url)
    assert {name: len(rows) for name, rows in oldest.items()}["trials"] == 6
    for revision, before, after in steps(old_url, migrations.upgrade, REVISIONS[1:]):
        assert_kept(before, after, RENAMED.get(revision, {}))
    newest = rows_of(old_url)

    back = list(steps(old_url, migrations.downgrade, REVISIONS[-2::-1]))
    for left, (_, before, after) in zip(REVISIONS[:0:-1], back, strict=True):
        assert_kept(before, after, {new: old for old, new in RENAMED.get(left, {}).items()})
    assert rows_of(old_url) == oldest

    migrations.upgrade(old_url)
    assert rows_of(old_url) == newest


@pytest.mark.parametrize("backend", BACKENDS)
def test_documents_of_the_first_release_plan_the_trials_that_they_planned(backend: str, old_url: str) -> None:
    migrations.upgrade(old_url)
    database = Database(old_url)
    with database.read() as session:
        found = [row.id for row in sweeps.page(session)]
    with database.read() as session:
        for sweep_id in found:
            document = sweeps.get(session, sweep_id).spec
            spec = SweepSpec.model_validate(document)
            kept = trials.page(session, sweep_id)
            assert [trial.params for trial in kept] == list(points_of(spec))
            for trial in kept:
                planned = plan_trial(spec, trial.number, trial.params).require_spec()
                assert planned.training.steps == document["training"]["steps"]
    database.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_database_of_a_newer_release_is_refused_in_words(backend: str, url: str) -> None:
    database = Database(url)
    with database.engine.execution_options(write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    newest = REVISIONS[-1]
    with pytest.raises(migrations.UnknownRevision, match=rf"revision 9999.*its newest is {newest}.*downgrade {newest}"):
        migrations.upgrade(url)
    assert migrations.current(url) == "9999"


def test_the_command_shows_migrates_and_refuses(tmp_path: Path) -> None:
    path = tmp_path / "test.db"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.store.migrations", *arguments],
            env={"SPECTRAL_DATABASE_URL": f"sqlite:///{path}", "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("current").stdout == "no tables yet\n"
    assert run("upgrade").stdout == f"{REVISIONS[-1]}\n"
    assert run("downgrade", "0001").stdout == "0001\n"
    with closing(sqlite3.connect(path)) as connection:
        assert "epoch" in {name for _, name, *_ in connection.execute("PRAGMA table_info(leases)")}
    wrong = run("downgrade", "12")
    assert wrong.returncode == 1
    assert "you ask for schema revision 12, which this release does not know" in wrong.stderr
    assert "Traceback" not in wrong.stderr
