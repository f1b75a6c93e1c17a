"""The controller's main loop: an error that nobody foresaw never becomes a loop that never ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RaySystemError
from sqlalchemy.exc import OperationalError

from service.controller import controller as main_loop
from service.controller.cluster import Cluster, ClusterUnreachable
from service.controller.controller import Controller
from service.controller.leadership import EXIT_STATUS, Leadership
from service.controller.reconciler import Reconciler
from service.settings import ControllerSettings
from service.store import components, leases
from service.store.database import Database


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is longer than some milliseconds, and no term needs to fail for long."""

    class Quick(main_loop.Backoff):
        def __init__(self, first: float = 1, longest: float = 30, steady: float = 60) -> None:
            super().__init__(first / 1000, longest / 1000, steady)

    monkeypatch.setattr(main_loop, "Backoff", Quick)
    monkeypatch.setattr(main_loop, "MAX_SECONDS", 0.0)
    monkeypatch.setattr(main_loop, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(main_loop, "HEALTH_SECONDS", 0.0)


@pytest.fixture
def settings(url: str, tmp_path: Path) -> ControllerSettings:
    return ControllerSettings(
        database_url=url, checkpoint_dir=tmp_path, ray_address="127.0.0.1:1", mlflow_url="http://127.0.0.1:9"
    )


def run(controller: Controller, stop: threading.Event, until: Callable[[], bool]) -> int:
    """Run a controller in a thread until a condition holds, or until it gives up, and return its status."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(controller.run()))
    thread.start()
    waited = threading.Event()
    for _ in range(6000):
        if until() or found:
            break
        waited.wait(0.01)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    return found[0]


def test_terms_that_fail_one_after_another_end_the_process(
    quick: None, settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[None] = []
    terms: list[int] = []

    def broken(reconciler: Reconciler, _wait: float) -> bool:
        terms.append(reconciler._context.term)
        raise KeyError("an unexpected error")

    monkeypatch.setattr(Reconciler, "tick", broken)
    monkeypatch.setattr(Cluster, "close", lambda _self: closed.append(None))
    stop = threading.Event()
    assert run(Controller(settings, stop), stop, lambda: False) == EXIT_STATUS
    assert terms == list(range(1, main_loop.MAX_TERMS + 1))
    assert len(closed) >= len(terms), "the connection may be what is wrong"


def test_an_error_of_ray_closes_the_connection_and_ends_no_term(
    quick: None, settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[int] = []
    closed: list[int] = []

    def broken(reconciler: Reconciler, _wait: float) -> bool:
        ticks.append(reconciler._context.term)
        if len(ticks) < 3:
            raise RaySystemError("WrongClusterID")
        if len(ticks) < 6:
            raise ClusterUnreachable("gone")
        return False

    monkeypatch.setattr(Reconciler, "tick", broken)
    monkeypatch.setattr(Cluster, "close", lambda _self: closed.append(len(ticks)))
    stop = threading.Event()
    quick_settings = settings.model_copy(update={"tick_seconds": 0.01})
    assert run(Controller(quick_settings, stop), stop, lambda: len(ticks) > 8) == 0
    assert set(ticks) == {1}
    assert {1, 2, 3, 4, 5} <= set(closed)


def test_an_error_that_ray_gives_for_ever_ends_the_process(
    quick: None, settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_reconciler: Reconciler, _wait: float) -> bool:
        raise RaySystemError("something in this process is broken")

    monkeypatch.setattr(Reconciler, "tick", broken)
    stop = threading.Event()
    quick_settings = settings.model_copy(update={"tick_seconds": 0.01})
    assert run(Controller(quick_settings, stop), stop, lambda: False) == EXIT_STATUS


def test_a_database_that_is_away_for_long_ends_no_process(
    quick: None, settings: ControllerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[None] = []

    def away(_self: Leadership) -> int | None:
        tries.append(None)
        raise OperationalError("BEGIN", {}, Exception("database or disk is full"))

    monkeypatch.setattr(Leadership, "acquire", away)
    stop = threading.Event()
    assert run(Controller(settings, stop), stop, lambda: len(tries) > 3 * main_loop.MAX_TERMS) == 0


def test_a_failing_checkpoint_store_is_a_part_that_goes_away_again(
    quick: None, settings: ControllerSettings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def tick(reconciler: Reconciler, _wait: float) -> bool:
        store = reconciler._context.checkpoint_store
        with database.read() as session:
            row = components.get(session, "checkpoint_writes")
        if row is None and not seen:
            store.fail("No space left on device")
        elif row is not None and not row.healthy:
            seen.append(row.message)
            store._recover()
        elif row is None and seen:
            seen.append("gone")
        return False

    monkeypatch.setattr(Reconciler, "tick", tick)
    stop = threading.Event()
    quick_settings = settings.model_copy(update={"tick_seconds": 0.01})
    assert run(Controller(quick_settings, stop), stop, lambda: "gone" in seen) == 0
    assert "checkpoints cannot be written: No space left on device" in seen[0]
    assert seen[-1] == "gone"


def test_a_tick_that_succeeds_is_progress_and_a_term_that_begins_is_not(database: Database) -> None:
    lead = Leadership(database, 60)
    term = lead.acquire()
    assert term is not None
    before: Any = lead._progress
    with lead.held(term):
        assert lead._progress == before
        lead.report_progress()
        assert lead._progress > before
    with database.write() as session:
        assert leases.acquire(session, "another", 600) is not None
    waited = lead._progress
    assert lead.acquire() is None
    assert lead._progress > waited, "waiting for another controller is no failure"
