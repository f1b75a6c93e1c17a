"""The embedded stack: ``with Stack(home) as stack: ...`` runs everything while inside."""

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

from service.stack import guard, ports
from service.stack.child import Child
from service.stack.errors import SamePort, StackFailed
from service.stack.home import Home
from service.stack.processes import Layout, parts

log = logging.getLogger(__name__)

READY_SECONDS = 120.0
LOOK_SECONDS = 0.25
STOP_SECONDS = 10.0
TRIES = 4
"""A part that has ended this often before the stack was ready will not get ready."""


class Stack:
    """Ray, MLflow, API and controller on this machine, in ``home``.

    port, mlflow_port: where the API and MLflow listen; 0 picks free ones. cpus, gpus: what Ray may use, by default all
    there is. database_url: instead of the SQLite file in ``home``. say: told in a line what happens to the parts.

    ``start`` raises SamePort, PortTaken, HomeBusy, HomeUnusable or StackFailed; nothing is left running then.
    """

    def __init__(
        self,
        home: Path,
        port: int = 8000,
        mlflow_port: int = 5000,
        cpus: int | None = None,
        gpus: int | None = None,
        *,
        database_url: str | None = None,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self.home = Home(home)
        free = ports.free(4)
        self.layout = Layout(
            home=self.home, port=port or free[0], mlflow_port=mlflow_port or free[1], ray_port=free[2],
            ray_client_port=free[3], cpus=cpus, gpus=gpus,
            database_url=database_url or f"sqlite:///{self.home.database}",
        )  # fmt: skip
        self._say = say
        self._children: list[Child] = []
        self._guard: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._looker: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The API and the web page."""
        return self.layout.url

    @property
    def mlflow_url(self) -> str:
        return self.layout.mlflow_url

    def pid(self, part: str) -> int | None:
        """The process of ``ray``, ``mlflow``, ``api`` or ``controller``; None between its end and its next start."""
        return next(child.pid for child in self._children if child.part.name == part)

    def start(self) -> None:
        """Returns when sweeps can run and MLflow answers."""
        if self.layout.port == self.layout.mlflow_port:
            raise SamePort(self.layout.port)
        ports.require(self.layout.port, "the API and the web page", "--port")
        ports.require(self.layout.mlflow_port, "MLflow", "--mlflow-port")
        self.home.claim({"url": self.url})
        try:
            self._start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        left = guard.end_all(str(self.home.path))
        if left:
            self._say(f"ended {left} processes that an earlier run in {self.home.path} had left")
        self.home.prepare()
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__, str(self.home.path)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._stop.clear()
        self._children = [Child(p, self.home.logs / f"{p.name}.log", self._say) for p in parts(self.layout)]
        for child in self._children:
            child.start()
        self._looker = threading.Thread(target=self._look, name="supervisor", daemon=True)
        self._looker.start()

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for child in self._children:
                child.look()

    def interrupt(self) -> None:
        """Break off a start that is under way in another thread or, from a signal handler, in this one."""
        self._stop.set()

    def _wait_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        waiting = {child.part.url: child for child in self._children if child.part.url}
        why = "it does not answer"
        while waiting:
            for child in self._children:
                if child.ends >= TRIES:
                    raise StackFailed(
                        f"{child.part.name} does not start; the end of {child.log}:\n{child.last_words()}"
                    )
            for url in list(waiting):
                ready, why = _answers(url)
                if ready:
                    del waiting[url]
            if waiting and time.monotonic() > until:
                names = ", ".join(child.part.name for child in waiting.values())
                raise StackFailed(
                    f"not ready after {READY_SECONDS:.0f} s: {names} ({why}); logs are in {self.home.logs}"
                )
            if waiting and self._stop.wait(LOOK_SECONDS):
                raise KeyboardInterrupt

    def wait(self) -> None:
        """Until ``interrupt``."""
        self._stop.wait()

    def stop(self) -> None:
        """End every process, then give the home free. Trials keep their checkpoints and go on at the next start."""
        self._stop.set()
        if self._looker is not None:
            self._looker.join()
        ours, theirs = self._children[2:], self._children[:2]
        for wave in (ours, theirs):  # those that talk to the others go first: they would wait for answers
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
    """Whether it answers 200, and what it says if not."""
    try:
        reply = httpx.get(url, timeout=5.0)
    except httpx.HTTPError as error:
        return False, str(error)
    return reply.status_code == 200, reply.text[:500]
