"""The stack: ``with Stack(home) as stack: ...`` runs Ray, MLflow, the API and the controller during the block."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from service.environment import chosen
from service.http_client import http_client
from service.stack import guard, ports
from service.stack.child import Child
from service.stack.errors import SamePort, StackFailed
from service.stack.home import Home
from service.stack.processes import Layout, managed_processes, require_installed

log = logging.getLogger(__name__)

READY_SECONDS = 120.0
"""The start fails if the API or MLflow is not ready after this time."""
LOOK_SECONDS = 0.25
STOP_SECONDS = 10.0
"""How long the API and the controller, and then Ray and MLflow, have to end before they are killed."""
TRIES = 4
"""The start fails if a process has ended this often in a row before the stack is ready."""


class Stack:
    """Runs Ray, MLflow, the API and the controller on this machine, and restarts those that end.

    A thread watches the processes between ``start`` and ``stop``. If this Python process is killed, they are ended too.
    As a context manager it starts at the beginning of the block and stops at its end.

    Args:
        home: The folder for everything that the stack keeps; it is created by ``start`` if needed.
        port: The port of the API; 0 picks a free one.
        mlflow_port: The port of MLflow; 0 picks a free one.
        cpus: The number of CPUs that Ray may use; None for all of this machine.
        gpus: The number of GPUs that Ray may use; None for all of this machine.
        auth: ``tokens`` if users have to show a token; ``auto`` and ``none`` ask for none.
        workers: The number of processes that serve the API.
        database_url: The SQLAlchemy URL of a database to use instead of the SQLite file in ``home``.
        say: Called with a line of text when the processes are about to be started, when one has ended and will be
            restarted, and when those of an earlier stack in ``home`` had to be ended; written to the log by default.
    """

    def __init__(
        self,
        home: Path,
        port: int = 8000,
        mlflow_port: int = 5000,
        cpus: int | None = None,
        gpus: int | None = None,
        *,
        auth: str = "auto",
        workers: int = 1,
        database_url: str | None = None,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self.home = Home(home)
        free = ports.free(4)
        self.layout = Layout(
            home=self.home,
            port=port or free[0],
            mlflow_port=mlflow_port or free[1],
            ray_port=free[2],
            ray_client_port=free[3],
            cpus=cpus,
            gpus=gpus,
            database_url=database_url or f"sqlite:///{self.home.database}",
            auth=auth,
            workers=workers,
        )
        self._say = say
        self._children: list[Child] = []
        self._guard: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._supervisor: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the API and the web page, such as ``http://127.0.0.1:8000``."""
        return self.layout.url

    @property
    def mlflow_url(self) -> str:
        """The address of MLflow for users, such as ``http://127.0.0.1:5000`` or ``http://127.0.0.1:8000/mlflow``."""
        return self.layout.mlflow_public_url

    @property
    def mlflow_experiments_url(self) -> str:
        """The address of MLflow's list of experiments and their training runs; MLflow opens another page by itself."""
        return f"{self.mlflow_url}/#/experiments?workflowType=machine_learning"

    def pid(self, part: str) -> int | None:
        """Return the process id of a part of a started stack; None while the part has ended and its restart is awaited.

        Args:
            part: ``ray``, ``mlflow``, ``api`` or ``controller``.

        Raises:
            StopIteration: The stack has not been started, or has no such part.
        """
        return next(child.pid for child in self._children if child.part.name == part)

    def start(self) -> None:
        """Start all processes, and return when the API says that sweeps can run and MLflow answers.

        If the start fails or is interrupted, nothing is left running. Processes that an earlier stack in the same home
        has left behind are ended first.

        Raises:
            NotInstalled: A package that a process needs is missing.
            SamePort: The API and MLflow have the same port.
            PortTaken: The port of the API or of MLflow cannot be listened on.
            HomeBusy: Another stack runs in the home.
            HomeOpen: Other users can reach the home, and that cannot be changed.
            HomeUnusable: The home or a file in it cannot be created or opened for writing.
            StackFailed: A process ended ``TRIES`` times in a row, or was not ready after ``READY_SECONDS``.
            KeyboardInterrupt: ``interrupt`` was called meanwhile.
        """
        require_installed()
        if self.layout.port == self.layout.mlflow_port:
            raise SamePort(self.layout.port)
        ports.require(self.layout.port, "the API and the web page", "--port")
        ports.require(self.layout.mlflow_port, "MLflow", "--mlflow-port")
        self.home.claim({"url": self.url})
        self._say("Starting Ray, MLflow, the API and the controller ...")
        try:
            self._start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        left = guard.end_all(str(self.home.path))
        if left:
            self._say(f"ended {left} processes left by an earlier run in {self.home.path}")
        self.home.prepare()
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__, str(self.home.path)],
            env=chosen(),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._stop.clear()
        self._children = [Child(p, self.home.logs / f"{p.name}.log", self._say) for p in managed_processes(self.layout)]
        for child in self._children:
            try:
                child.start()
            except OSError as error:
                raise StackFailed(f"{child.part.name} cannot be started: {error}") from error
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._supervisor.start()

    def _supervise(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for child in self._children:
                child.look_after()

    def interrupt(self) -> None:
        """Make ``wait`` return, or ``start``, if it is under way, raise KeyboardInterrupt.

        From then on processes that end are not restarted; ``stop`` is still needed. It may be called from another
        thread, or from a signal handler in the thread that starts or waits.
        """
        self._stop.set()

    def _wait_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        waiting = {child.part.url: child for child in self._children if child.part.url}
        reason = "it does not answer"
        while waiting:
            for child in self._children:
                if child.ends >= TRIES:
                    raise StackFailed(
                        f"{child.part.name} does not start; the end of {child.log}:\n{child.last_words()}"
                    )
            for url in list(waiting):
                ready, reason = _answers(url)
                if ready:
                    del waiting[url]
            if waiting and time.monotonic() > until:
                names = ", ".join(child.part.name for child in waiting.values())
                raise StackFailed(
                    f"not ready after {READY_SECONDS:.0f} s: {names} ({reason}); the logs are in {self.home.logs}"
                )
            if waiting and self._stop.wait(LOOK_SECONDS):
                raise KeyboardInterrupt

    def wait(self) -> None:
        """Block until ``interrupt`` or ``stop`` is called."""
        self._stop.wait()

    def stop(self) -> None:
        """End every process and unlock the home; do nothing if the stack was not started.

        Trials that were running continue from their last checkpoints at the next start.
        """
        self._stop.set()
        if self._supervisor is not None:
            self._supervisor.join()
        # The API and the controller go first: without Ray and MLflow they would wait for answers.
        ours, theirs = self._children[2:], self._children[:2]
        for wave in (ours, theirs):
            deadline = time.monotonic() + STOP_SECONDS
            for child in wave:
                child.terminate()
            for child in wave:
                child.finish(deadline)
        if self._guard is not None:
            guard.end_all(str(self.home.path))
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait()
        self._children, self._guard = [], None
        self.home.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _answers(url: str) -> tuple[bool, str]:
    """Return whether the address answers with status 200, and the start of its answer, or why there was none."""
    try:
        with http_client(url, timeout=5.0) as http:
            reply = http.get(url)
    except httpx.HTTPError as error:
        return False, str(error)
    return reply.status_code == 200, reply.text[:500]
