"""Two MLflow servers as the service starts them: one that is open on this machine, and one that demands a secret."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.mlflow_server import SECRET
from service.stack import ports

SHARED_SECRET = "0123456789abcdef0123456789abcdef"


@contextmanager
def mlflow_server(folder: Path, secret: str) -> Iterator[str]:
    """Run MLflow's server behind the door, with its files in a folder, and return its address."""
    (port,) = ports.free(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "service.mlflow_server", f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}"]
    command += [f"--artifacts-destination={folder / 'artifacts'}", f"--port={port}", "--workers=1"]
    command += ["--allowed-hosts=localhost,127.0.0.1,localhost:*,127.0.0.1:*"]
    environment = dict(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {SECRET: secret} if secret else {}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    until = time.monotonic() + 200
    try:
        while not answers(f"{url}/health"):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < until, (folder / "server.log").read_text()
            time.sleep(0.25)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def open_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("open"), "") as url:
        yield url


@pytest.fixture(scope="session")
def closed_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("closed"), SHARED_SECRET) as url:
        yield url
