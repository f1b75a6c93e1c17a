"""An MLflow that is empty for each test, a run in it, and sweeps that are written to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, contextmanager, suppress
from pathlib import Path

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from service.settings import ControllerSettings
from service.store import leases
from service.store.database import Database
from service.store.tables import Sweep
from service.tracking import logged_models, plain_models, results_projection
from service.tracking import projector as projecting
from service.tracking.mlflow_health import Probe
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, SweepStory

EXPORT = plain_models.of_best


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker run all tests of this folder that need a server, so that one is started."""
    for item in items:
        called = getattr(item, "callspec", None)
        if called is not None and called.params.get("mlflow_url") == "server":
            item.add_marker(pytest.mark.xdist_group("tracking_server"))


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the MLflow of all tests, with ``empty.db``, which each test finds in ``mlflow.db``.

    MLflow takes seconds to make a database, and compiles each statement again for the next one.
    """
    folder = tmp_path_factory.mktemp("mlflow")
    with chdir(folder):  # MLflow's artifacts are where it is when it opens the database
        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    copy_database(folder / "mlflow.db", folder / "empty.db")
    return folder


def copy_database(source: Path, target: Path) -> None:
    """Replace all of an SQLite database, which others may have opened."""
    with closing(sqlite3.connect(source)) as of, closing(sqlite3.connect(target)) as to:
        of.backup(to)


def emptied(folder: Path, name: str = "mlflow.db") -> str:
    """Take everything out of a database in MLflow's folder, and return its address."""
    copy_database(folder / "empty.db", folder / name)
    shutil.rmtree(folder / "mlruns", ignore_errors=True)
    return f"sqlite:///{folder / name}"


@pytest.fixture(scope="session")
def mlflow_server(mlflow_folder: Path) -> Iterator[str]:
    """The address of an MLflow server on the database ``served.db``."""
    emptied(mlflow_folder, "served.db")
    with served(mlflow_folder) as url:
        yield url


@pytest.fixture
def run(mlflow_url: str, tmp_path: Path) -> Run:
    mlflow.set_tracking_uri(mlflow_url)
    experiment = mlflow.create_experiment("models", artifact_location=str(tmp_path / "artifacts"))
    return mlflow.MlflowClient().create_run(experiment)


@pytest.fixture
def mlflow_url(
    request: pytest.FixtureRequest, mlflow_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of an empty MLflow: its database, or, for the parameter "server", that of a server."""
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    if getattr(request, "param", "") == "server":
        server = request.getfixturevalue("mlflow_server")
        emptied(mlflow_folder, "served.db")
        yield server
    else:
        yield emptied(mlflow_folder)
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run an MLflow server on the database ``served.db`` of a folder, with its artifacts beside it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        f"--backend-store-uri=sqlite:///{folder / 'served.db'}",
        f"--port={port}",
        "--workers=1",
        "--artifacts-destination=artifacts",
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen(command, env=environment, start_new_session=True, cwd=folder)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health", trust_env=False).is_success:
                    break
            assert server.poll() is None
            assert time.monotonic() < end, "MLflow's server does not answer"
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    return MlflowClient(mlflow_url, mlflow_url)


@pytest.fixture
def controllers(
    database: Database, url: str, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Projector]:
    """A function that makes the projector of the next controller. It looks at everything each time it drains.

    It takes the address of MLflow, which is by default that of this test.
    """
    monkeypatch.setattr(Probe, "check", lambda _: None)
    monkeypatch.setattr(logged_models, "prepare", lambda: None)  # it only makes the first model faster
    monkeypatch.setattr(plain_models, "of_best", lambda *_: {})  # a process that imports torch takes seconds
    files = {"plots/results.png": b"\x89PNG\r\n\x1a\n"}
    monkeypatch.setattr(results_projection, "report_files", lambda _: files)  # figures have tests of their own
    monkeypatch.setattr(projecting, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr("service.tracking.mlflow_health.NOTE_SECONDS", 0.0)
    monkeypatch.setattr("service.tracking.deletions.LOOK_SECONDS", 0.0)

    def lead(address: str = mlflow_url) -> Projector:
        with database.write() as session:
            term = leases.acquire(session, f"controller {len(terms)}", 0)
        assert term is not None
        terms.append(term)
        return Projector(database, ControllerSettings(database_url=url, mlflow_url=address), term)

    terms: list[int] = []
    return lead


@pytest.fixture
def real_export() -> Callable[..., dict[str, bytes]]:
    """What ``controllers`` replaces: the best network of a sweep without our code. To be asked for beside it."""
    return EXPORT


@pytest.fixture
def stories(database: Database, new_sweep: Callable[..., Sweep], client: MlflowClient, tmp_path: Path) -> Stories:
    """A function that makes a running sweep of two trials."""
    space = {"model.margin": {"values": [0.01, 0.1]}}
    return lambda: SweepStory(database, new_sweep(space=space), client, tmp_path)
