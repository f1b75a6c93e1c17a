"""A run in an MLflow whose database and artifacts are in a folder of the test, and sweeps that are written to one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("models", artifact_location=str(tmp_path / "artifacts"))
    yield mlflow.MlflowClient().create_run(experiment)
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an MLflow without experiments: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_url(
    request: pytest.FixtureRequest, empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of an MLflow of this test: its database, or, for the parameter "server", that of a server on it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    store, before = f"sqlite:///{tmp_path / 'mlflow.db'}", mlflow.get_tracking_uri()
    with served(store) if getattr(request, "param", "") == "server" else nullcontext(store) as url:
        yield url
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)


@contextmanager
def served(store: str) -> Iterator[str]:
    """Run an MLflow server on a database, with its artifacts in the present folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        f"--backend-store-uri={store}",
        f"--port={port}",
        "--workers=1",
    ]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = subprocess.Popen([*command, "--artifacts-destination=artifacts"], env=environment, start_new_session=True)
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
