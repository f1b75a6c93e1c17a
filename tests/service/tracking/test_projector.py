"""The thread that writes the outbox: what it meets does not end it before its term does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.settings import ControllerSettings
from service.store import components, leases
from service.store.database import Database
from service.tracking import mlflow_health, projector
from service.tracking.projector import Projector

AWAY = "http://127.0.0.1:9"


class FullDatabase(Database):
    """A database that takes no writes until ``mended``."""

    mended = False
    refused = 0

    @contextmanager
    def write(self, term: int | None = None) -> Iterator[Session]:
        if not self.mended:
            self.refused += 1
            raise OperationalError("COMMIT", None, Exception("database or disk is full"))
        with super().write(term) as session:
            yield session


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_goes_on_though_the_database_takes_no_note_that_mlflow_is_away(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((mlflow_health, "LONGEST_PAUSE_SECONDS"), (projector, "PAUSE_SECONDS")):
        monkeypatch.setattr(module, name, 0.01)
    with database.write() as session:
        term = leases.acquire(session, "test", 600)
    assert term is not None
    full = FullDatabase(url)
    found = Projector(full, ControllerSettings(database_url=url, mlflow_url=AWAY), term)
    found.start()
    try:
        until(lambda: full.refused > 2)
        full.mended = True

        def noted() -> bool:
            with database.read() as session:
                return components.get(session, "mlflow") is not None

        until(noted)
    finally:
        found.stop()
        full.close()
