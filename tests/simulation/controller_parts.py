"""The parts of a controller that a simulation replaces: its database, its lease, its threads and its clock."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from sqlalchemy.orm import Session

from service.controller import attention, controller, demand, runner_requests
from service.controller.leadership import Leadership
from service.store import leases
from service.store.database import Database, LeadLost
from service.store.tables import Lease
from tests.simulation.fake_ray import RayModule, SimulatedCluster

if TYPE_CHECKING:
    from tests.simulation.world import World

LEASE_SECONDS = 15.0


def run_controller(world: World) -> None:
    """Run a controller until it is killed. The parts must be installed."""
    stop: Any = _Stop(world)
    controller.Controller(world.settings, stop).run()


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Put the fake parts and the virtual clock into the controller's modules during the block."""
    parts = {
        "Database": lambda _url: SimulatedDatabase(world),
        "Cluster": lambda *settings: SimulatedCluster(world, *settings),
        "Leadership": lambda database, seconds: _SimulatedLeadership(world, database, seconds),
        "Projector": _NoThread,
        "CheckpointKeeper": _NoThread,
        "SweepRemover": _NoThread,
        "Deliverer": _NoThread,
    }
    with ExitStack() as stack:
        stack.enter_context(world.clock.installed())
        stack.enter_context(mock.patch.multiple(controller, **parts, HEALTH_SECONDS=30.0, RETRY_SECONDS=3.0))
        # without the looks that make up for a lost mark, a lost mark is noticed
        stack.enter_context(mock.patch.object(attention, "RECHECK_SECONDS", float("inf")))
        stack.enter_context(mock.patch.object(demand, "IDLE_SECONDS", float("inf")))
        stack.enter_context(mock.patch.object(runner_requests, "ray", RayModule(world)))
        stack.enter_context(mock.patch.object(secrets, "token_hex", lambda n: world.rng.randbytes(n).hex()))
        yield


class SimulatedDatabase(Database):
    """The database as one controller sees it, with a point before and after each transaction and before each commit."""

    def __init__(self, world: World) -> None:
        self.url, self.engine, self._world = world.database.url, world.database.engine, world
        self._reading = world.database._reading

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        self._world.point("before reading")
        with super().read() as session:
            yield session

    @contextmanager
    def write(self, term: int | None = None) -> Iterator[Session]:
        """Open a session for writing. It must not commit in a term that is over."""
        world = self._world
        world.point("before a transaction")
        with super().write(term) as session:
            yield session
            session.flush()
            lease = session.get(Lease, "controller")
            if term is not None and (lease is None or lease.term != term):
                world.violated(f"a write of term {term} is committed after a newer term has begun")
            world.point("before the commit", inside=True)
        world.written = True
        world.point("after the commit")

    def close(self) -> None:
        """Keep the connections: other processes use them."""


class _SimulatedLeadership(Leadership):
    """Leadership whose lease is renewed by the simulation, and not by a thread."""

    def __init__(self, world: World, database: Database, seconds: float) -> None:
        super().__init__(database, seconds)
        self._world = world

    @contextmanager
    def held(self, term: int) -> Iterator[None]:
        """Renew the lease during the block. A process that is killed or stopped renews nothing."""
        world, process, leading = self._world, self._world.current, [True]
        assert process is not None

        def renew() -> None:
            if not leading or process.doomed or not process.alive or self.lost.is_set():
                return
            if not process.stopped:
                try:
                    with world.database.write() as session:
                        leases.renew(session, term, LEASE_SECONDS)
                except LeadLost:
                    self.lost.set()
                    return
            world.at(world.clock.now + LEASE_SECONDS / 3, renew)

        self.lost.clear()
        self.report_progress()
        world.at(world.clock.now + LEASE_SECONDS / 3, renew)
        try:
            yield
        finally:
            leading.clear()
            if not process.doomed and not self.lost.is_set():
                self._release(term)


class _NoThread:
    """Takes the place of what runs beside the ticks, in threads of its own, and is no part of this simulation."""

    def __init__(self, *_arguments: Any) -> None: ...

    def start(self) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class _Stop:
    """The event that ends a controller. It is never set, and to wait for it is to let virtual time pass."""

    def __init__(self, world: World) -> None:
        self._world = world

    def is_set(self) -> bool:
        """Return False."""
        return False

    def wait(self, seconds: float) -> bool:
        """Pause for so many seconds, and return False."""
        if seconds > 0:
            self._world.sleep_until(self._world.clock.now + seconds)
        return False
