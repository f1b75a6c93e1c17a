"""Run schedules by their seeds, one after another, on one database that is filled anew for each; shrink what fails."""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray.exceptions import RaySystemError

from service.store import migrations
from service.store.database import Database
from tests.simulation import oracle
from tests.simulation.schedule import FAULTS, Schedule, draw
from tests.simulation.world import World

MEMORY = Path("/dev/shm")
"""A folder in memory, where a commit costs nothing; the system's temporary folder is taken where there is none."""


@dataclass(frozen=True)
class Failure:
    """A schedule that broke a rule.

    Attributes:
        schedule: The schedule, with as few faults as still break a rule.
        found: What it broke.
        trace: What happened in it.
    """

    schedule: Schedule
    found: list[str]
    trace: list[str]

    def __str__(self) -> str:
        lines = [
            f"seed {self.schedule.seed}: {'; '.join(self.found)}",
            f"replay it with: make simulate SEED={self.schedule.seed} SCHEDULES=1",
            f"smallest schedule found: {self.schedule}",
            *self.trace,
        ]
        return "\n".join(lines)


class Simulator:
    """Runs schedules on a database of its own.

    Args:
        folder: A folder for the database, of this simulator alone.
    """

    def __init__(self, folder: Path) -> None:
        self._template, self._file = folder / "template.db", folder / "simulated.db"
        migrations.upgrade(f"sqlite:///{self._template}")
        self._database = Database(f"sqlite:///{self._file}")

    def run(self, schedule: Schedule) -> World:
        """Go through a schedule on an empty database, and return the world as it is afterwards."""
        self.close()
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self._template, self._file)
        world = World(schedule, self._database)
        with _watched(world):
            world.run(oracle.time_limit(schedule))
        return world

    def check(self, schedule: Schedule) -> Failure | None:
        """Return how a schedule breaks a rule; None if it breaks none."""
        world = self.run(schedule)
        found = oracle.violations(world)
        return Failure(schedule, found, world.trace) if found else None

    def shrink(self, failure: Failure) -> Failure:
        """Return a failure with fewer faults, by leaving out one after another while some rule is still broken."""
        for fault in failure.schedule.faults:
            if fault in failure.schedule.faults:
                shorter = self.check(failure.schedule.without(fault))
                failure = shorter or failure
        return failure

    def first_failure(self, seeds: range, kinds: Sequence[str] = tuple(FAULTS)) -> Failure | None:
        """Return the first failure among the schedules of these seeds, as it is; None if there is none."""
        for seed in seeds:
            failure = self.check(draw(seed, kinds))
            if failure is not None:
                return failure
        return None

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


class _ErrorWatch(logging.Handler):
    """Takes an error that the controller did not foresee, and has logged with its traceback, as broken rule."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error with a traceback, unless it is one of Ray that the simulation has raised."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, RaySystemError):
            self._world.violated(f"unforeseen {type(error).__name__}: {error}")


@contextmanager
def _watched(world: World) -> Iterator[None]:
    """Take the controller's log during the block."""
    logger, handler = logging.getLogger("service.controller"), _ErrorWatch(world)
    logger.addHandler(handler)
    logger.propagate, before = False, logger.propagate
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


@contextmanager
def simulator() -> Iterator[Simulator]:
    """Make a simulator in a temporary folder, and keep the warnings of the controllers to itself during the block."""
    parent = MEMORY if MEMORY.is_dir() else None
    before = logging.root.manager.disable
    with tempfile.TemporaryDirectory(prefix="spectral-simulation-", dir=parent) as folder:
        found = Simulator(Path(folder))
        logging.disable(logging.WARNING)
        gc.freeze()  # what was imported is not garbage, and is not to be looked through again and again
        try:
            yield found
        finally:
            gc.unfreeze()
            logging.disable(before)
            found.close()
