"""Rounds of launching on a virtual clock, in a cluster in which every runner starts."""

from __future__ import annotations

import time
from typing import Any

from service.controller import lost_packs
from service.controller.cluster import Cluster
from service.controller.context import ReconcileContext
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.node import Node
from service.settings import ControllerSettings
from service.store import packs, sweeps
from service.store.database import Database
from service.store.tables import Pack
from workers.spec.sweep import RetriesSpec

RETRIES = RetriesSpec()
ALONE = {"resources": {"pack_size": 1}}


class ObedientCluster(Cluster):
    """A cluster of one node with 8 CPUs, on which every runner starts."""

    cpus = 8.0

    def nodes(self) -> list[Node]:
        return [Node("here", cpus=self.cpus, gpus=0)]

    def start(self, assignment: Any, _name: str) -> Any:
        return object()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        """The wall clock goes on as this one does."""
        return _BEGAN + self.now - 1000.0


_BEGAN = time.time()


class Launches:
    """Rounds of launching, each of which tells which sweeps it has asked for trials."""

    def __init__(self, database: Database, url: str, term: int, clock: Clock, asked: list[str]) -> None:
        settings = ControllerSettings(database_url=url)
        context = ReconcileContext(database, ObedientCluster("127.0.0.1:1", "test"), settings, term)
        self.launcher = PackLauncher(context, SweepGuard(context))
        self._database, self._clock, self._asked = database, clock, asked

    def __call__(self, seconds: float = 0.5) -> list[str]:
        self._clock.now += seconds
        self._asked.clear()
        with self._database.read() as session:
            open_sweeps = sweeps.open_sweeps(session)
        self.launcher.launch(open_sweeps)
        return sorted(self._asked)


def open_packs(database: Database) -> list[Pack]:
    with database.read() as session:
        return packs.open_packs(session)


def lose(database: Database, term: int, pack: Pack) -> None:
    with database.write(term) as session:
        lost_packs.mark_lost(session, packs.get(session, pack.id), "process", "it crashed", RETRIES)
