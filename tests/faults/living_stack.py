"""The stack that the faults hit: its supervisor, its database, the proxies before MLflow and PostgreSQL, its disks."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Literal

import httpx
import psutil
from sqlalchemy import make_url

from service.client import RestClient
from service.http_client import http_client
from service.stack import guard, ports
from service.stack.home import Home
from service.store import migrations
from service.store.database import Database
from tests.faults import processes
from tests.faults.postgres_server import PostgresServer
from tests.faults.relay import Relay
from tests.faults.reply_proxy import ReplyProxy
from tests.faults.small_disk import SmallDisk
from tests.waiting import until

DatabaseKind = Literal["sqlite", "postgresql"]
ROOT = Path(__file__).parent.parent.parent
CPUS = 2
START_SECONDS = 240.0
"""How long the stack may take to be ready for the first time, on a busy machine."""
PATIENCE = 120.0
"""For how many seconds a client repeats a call while the API does not answer."""
LOG_BYTES = 20_000_000
"""Logs longer than this are not kept."""


class LivingStack:
    """Runs a stack in a folder of its own. Use it as a context manager.

    Args:
        folder: A new folder for all that belongs to the stack.
        kind: The kind of its database.

    Attributes:
        home: The stack's home.
        database: The database, reached without the relay, so that it can be looked at while that is cut.
        proxy: What stands between the controller and MLflow.
        relay: What stands between PostgreSQL and all others; None with SQLite.
        postgres: The PostgreSQL server; None with SQLite.
        checkpoint_disk: The disk of the checkpoints.
        database_disk: The disk of the SQLite database.
        url: The address of the API.
    """

    def __init__(self, folder: Path, kind: DatabaseKind) -> None:
        self.folder, self.kind = folder, kind
        self.home = Home(folder / "home")
        self._port, self._mlflow_port = ports.free(2)
        self.url = f"http://127.0.0.1:{self._port}"
        self.mlflow_url = f"http://127.0.0.1:{self._mlflow_port}"
        self.proxy = ReplyProxy(self.mlflow_url)
        self.checkpoint_disk = SmallDisk(self.home.checkpoints)
        self.database_disk = SmallDisk(folder / "database")
        self.postgres: PostgresServer | None = None
        self.relay: Relay | None = None
        self._open = ExitStack()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> LivingStack:
        self.home.path.mkdir(mode=0o700)  # the stack refuses one that others can look into
        with ExitStack() as opened:
            opened.enter_context(self.checkpoint_disk)
            opened.enter_context(self.database_disk)
            opened.enter_context(self.proxy)
            self._database_url = f"sqlite:///{self.folder / 'database' / 'spectral.db'}"
            own_url = self._database_url
            if self.kind == "postgresql":
                self.postgres = opened.enter_context(PostgresServer())
                self.relay = opened.enter_context(Relay(self.postgres.socket))
                own_url = self.postgres.url
                through = make_url(own_url).set(host="127.0.0.1", port=self.relay.port, query={})
                self._database_url = through.render_as_string(hide_password=False)
            migrations.upgrade(own_url)
            self.database = Database(own_url)
            opened.callback(self.database.close)
            self._log = opened.enter_context((self.folder / "supervisor.log").open("ab"))
            opened.callback(self._stop)
            self.start()
            self.client = opened.enter_context(RestClient(self.url, patience=PATIENCE))
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def start(self) -> None:
        """Start the supervisor, once the one before and all that it started have ended, and return when all is ready.

        Raises:
            AssertionError: The stack was not ready in time.
        """
        self._reap()
        until(lambda: not guard.members(str(self.home.path)), START_SECONDS)
        command = [sys.executable, "-m", "tests.faults.rig", str(self.home.path)]
        options = {
            "--port": self._port,
            "--mlflow-port": self._mlflow_port,
            "--cpus": CPUS,
            "--database": self._database_url,
            "--mlflow-proxy": self.proxy.url,
        }
        command += [f"{name}={value}" for name, value in options.items()]
        self._supervisor = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, start_new_session=True
        )
        until(lambda: self.is_ready() or self._has_ended(), START_SECONDS)
        assert not self._has_ended(), f"the stack did not start: {self.folder / 'supervisor.log'}"

    def _has_ended(self) -> bool:
        return self._supervisor is not None and self._supervisor.poll() is not None

    def signal_supervisor(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor, and to nothing that it has started."""
        assert self._supervisor is not None
        self._supervisor.send_signal(number)

    def is_ready(self) -> bool:
        """Return whether sweeps can run, as the API says, and whether MLflow answers."""
        with suppress(httpx.HTTPError), http_client(self.url, timeout=5.0) as http:
            ready = http.get(f"{self.url}/health/ready").status_code == 200
            return ready and http.get(f"{self.mlflow_url}/health").status_code == 200
        return False

    def orphans(self) -> list[psutil.Process]:
        """Return the processes that belong to the stack and that its supervisor does not have among its descendants."""
        assert self._supervisor is not None
        found = processes.of_stack(self.home)
        with suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(self._supervisor.pid)
            kept = {supervisor.pid, *(process.pid for process in supervisor.children(recursive=True))}
            return [process for process in found if process.pid not in kept]
        return found

    def keep_logs(self, folder: Path) -> None:
        """Copy the logs of the stack's processes, and those of Ray's, into a folder."""
        for name, source in (("stack", self.home.logs), ("ray", self.home.ray / "session_latest" / "logs")):
            for path in source.glob("*"):
                with suppress(OSError):
                    if path.is_file() and 0 < path.stat().st_size < LOG_BYTES:
                        (folder / name).mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, folder / name)
        shutil.copy(self.folder / "supervisor.log", folder)

    def _reap(self) -> None:
        """Wait for the end of a supervisor that ends, and close our end of its standard input."""
        if self._supervisor is not None:
            self._supervisor.wait()
            assert self._supervisor.stdin is not None
            self._supervisor.stdin.close()

    def _stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(60)
            self._supervisor.kill()
        self._reap()
        end = time.monotonic() + 30
        while processes.of_stack(self.home) and time.monotonic() < end:
            guard.end_all(str(self.home.path))
            processes.send(processes.of_stack(self.home), signal.SIGKILL)
        shutil.rmtree(self.home.ray, ignore_errors=True)
