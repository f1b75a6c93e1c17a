"""A database that answers reads and takes no writes is noticed, and so is that it takes them again."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import text

from service.store import write_probe
from service.store.database import Database
from service.store.write_probe import WriteProbe
from tests.waiting import until

BACKENDS = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_probe, "PROBE_SECONDS", 0.0)


@BACKENDS
def test_a_database_that_takes_writes_has_no_problem(database: Database, backend: str) -> None:
    probe = WriteProbe(database)
    for _ in range(3):
        assert probe.problem() is None


def test_a_disk_that_takes_no_byte_more_is_noticed_and_room_too(url: str) -> None:
    """The process may not make files larger for a while, which is what a full disk looks like from inside."""
    program = """
import resource, sys
from service.store import write_probe
from service.store.database import Database
write_probe.PROBE_SECONDS = 0.0
probe = write_probe.WriteProbe(Database(sys.argv[1]))
print(probe.problem())
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
found = probe.problem()
with probe._database.read() as session:
    assert write_probe.text and session.scalar(write_probe.text("SELECT count(*) FROM sweeps")) == 0
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(found)
print(probe.problem())
"""
    shown = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, timeout=120)
    first, full, last = shown.stdout.split("\n")[:3]
    assert (first, last) == ("None", "None"), shown.stderr
    assert "disk" in full


@BACKENDS
def test_a_read_only_database_is_noticed(database: Database, backend: str) -> None:
    probe = WriteProbe(database)
    if backend == "sqlite":
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
    else:
        with database.engine.connect() as connection:
            name = connection.execute(text("SELECT current_database()")).scalar()
            connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
            connection.commit()
        database.engine.dispose()
    until(lambda: "read" in str(probe.problem()))
