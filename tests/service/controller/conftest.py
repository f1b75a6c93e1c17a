"""Sweeps that have been expanded, and packs of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from service.controller import backoff, checkpoint_store, demand, launching, retry_pauses, scheduling, sweep_lifecycle
from service.store import leases
from service.store.database import Database
from service.store.tables import Pack, Sweep, Trial
from tests.service.controller import launches
from workers.spec.sweep import SweepSpec

Expanded = Callable[..., tuple[Sweep, SweepSpec]]
Launched = Callable[..., Pack]


class Clock:
    """A monotonic clock that the test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(backoff, "time", found)
    monkeypatch.setattr(checkpoint_store, "time", found)
    return found


@pytest.fixture
def term(database: Database) -> int:
    with database.write() as session:
        found = leases.acquire(session, "test", 600)
    assert found is not None
    return found


@pytest.fixture
def expanded(database: Database, new_sweep: Callable[..., Sweep], term: int) -> Expanded:
    """A function that returns a running sweep with its trials."""

    def expand(**changes: Any) -> tuple[Sweep, SweepSpec]:
        sweep = new_sweep(**changes)
        spec = SweepSpec.model_validate(sweep.spec)
        with database.write(term) as session:
            sweep_lifecycle.expand(session, sweep.id, spec)
        return sweep, spec

    return expand


@pytest.fixture
def launched(database: Database, term: int) -> Launched:
    """A function that launches a pack of the given trial numbers."""

    def launch(sweep: Sweep, spec: SweepSpec, *numbers: int) -> Pack:
        with database.write(term) as session:
            ids = [f"{sweep.id}-{number:04d}" for number in numbers]
            pack = scheduling.plan_pack(session, sweep.id, ids, spec, term)
        assert pack is not None
        return pack

    return launch


@pytest.fixture
def trials_of(database: Database) -> Callable[[Sweep], list[Trial]]:
    def read(sweep: Sweep) -> list[Trial]:
        with database.read() as session:
            return list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id).order_by(Trial.number)))

    return read


@pytest.fixture
def launch(database: Database, url: str, term: int, monkeypatch: pytest.MonkeyPatch) -> launches.Launches:
    """Rounds of launching, on a clock of their own."""
    asked: list[str] = []
    clock = launches.Clock()
    asking = scheduling.trials_to_run

    def note(session: Any, sweep_id: str) -> Any:
        asked.append(sweep_id)
        return asking(session, sweep_id)

    monkeypatch.setattr(scheduling, "trials_to_run", note)
    monkeypatch.setattr(launching, "time", clock)
    monkeypatch.setattr(demand, "time", clock)
    monkeypatch.setattr(retry_pauses, "time", clock)
    return launches.Launches(database, url, term, clock, asked)


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that gives the node another number of CPUs."""
    return lambda number: monkeypatch.setattr(launches.ObedientCluster, "cpus", number)
