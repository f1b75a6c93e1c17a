"""Whose error it is: the sweep's, the database's, the checkpoint store's, or Ray's."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel, ValidationError
from ray.exceptions import RaySystemError
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, InternalError, OperationalError, ProgrammingError

from service.controller import guard as guard_module
from service.controller.cluster import Cluster, ClusterUnreachable
from service.controller.context import InvalidDocument, ReconcileContext
from service.controller.guard import MAX_CONSECUTIVE_ERRORS, MIN_SECONDS, SweepGuard
from service.settings import ControllerSettings
from service.store import sweeps
from service.store.database import Database, LeadLost, is_unavailable
from service.store.errors import NotFound
from service.store.tables import Sweep
from workers.protocol import Poll


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def context(database: Database, url: str, term: int) -> Iterator[ReconcileContext]:
    settings = ControllerSettings(database_url=url)
    return ReconcileContext(database, Cluster("127.0.0.1:1", "test"), settings, term)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(guard_module, "time", found)
    return found


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def sqlite_error(kind: type[DBAPIError], name: str) -> DBAPIError:
    orig = sqlite3.DatabaseError("it fails")
    orig.sqlite_errorname = name
    return kind("UPDATE", {}, orig)


def postgres_error(kind: type[DBAPIError], code: str) -> DBAPIError:
    return kind("UPDATE", {}, psycopg.errors.lookup(code)("it fails"))


UNAVAILABLE = [
    sqlite_error(OperationalError, "SQLITE_FULL"),
    sqlite_error(OperationalError, "SQLITE_BUSY"),
    sqlite_error(DatabaseError, "SQLITE_CORRUPT"),
    sqlite_error(DatabaseError, "SQLITE_IOERR_WRITE"),
    sqlite_error(DatabaseError, "SQLITE_READONLY_DBMOVED"),
    postgres_error(OperationalError, "53100"),
    postgres_error(InternalError, "25006"),
    postgres_error(InternalError, "58030"),
]
OURS = [
    sqlite_error(IntegrityError, "SQLITE_CONSTRAINT_UNIQUE"),
    postgres_error(IntegrityError, "23505"),
    postgres_error(ProgrammingError, "42601"),
]


@pytest.mark.parametrize("error", UNAVAILABLE, ids=str)
def test_an_error_of_the_database_is_raised_and_charges_no_sweep(
    context: ReconcileContext, expanded: Any, error: DBAPIError, clock: Clock
) -> None:
    sweep, _ = expanded()
    guard = SweepGuard(context)
    for _ in range(2 * MAX_CONSECUTIVE_ERRORS):
        clock.now += MIN_SECONDS
        with pytest.raises(DBAPIError):
            guard.run(sweep.id, "launch", raising(error))
    assert state(context, sweep) == "running"


@pytest.mark.parametrize("error", OURS, ids=str)
def test_a_wrong_statement_is_not_the_database_s_fault(error: DBAPIError) -> None:
    assert not is_unavailable(error)


@pytest.mark.parametrize("error", [RaySystemError("x"), ClusterUnreachable("x"), LeadLost("x")])
def test_an_error_of_ray_and_a_lost_lead_are_raised(context: ReconcileContext, error: Exception) -> None:
    with pytest.raises(type(error)):
        SweepGuard(context).run("sw0000000000", "launch", raising(error))


def test_an_error_of_the_checkpoint_store_holds_launching_back_and_charges_no_sweep(
    context: ReconcileContext, expanded: Any, clock: Clock
) -> None:
    sweep, _ = expanded()
    guard = SweepGuard(context)
    for _ in range(2 * MAX_CONSECUTIVE_ERRORS):
        clock.now += MIN_SECONDS
        guard.run(sweep.id, "launch", raising(OSError(errno.ESTALE, os.strerror(errno.ESTALE))))
    assert state(context, sweep) == "running"
    assert not context.checkpoint_store.may_launch
    assert os.strerror(errno.ESTALE) in str(context.checkpoint_store.problem)


class Number(BaseModel):
    value: int


def test_an_invalid_value_elsewhere_does_not_blame_the_stored_document(
    context: ReconcileContext, expanded: Any, clock: Clock
) -> None:
    """pydantic's error may come from a runner's answer: it counts as any other, and is told as what it is."""
    sweep, _ = expanded()
    guard = SweepGuard(context)

    def wrong() -> None:
        Number.model_validate({"value": "no number"})

    guard.run(sweep.id, "poll", wrong)
    assert state(context, sweep) == "running"
    clock.now += MIN_SECONDS
    for _ in range(MAX_CONSECUTIVE_ERRORS):
        guard.run(sweep.id, "poll", wrong)
    with context.read() as session:
        reason = str(sweeps.get(session, sweep.id).reason)
    assert ValidationError.__name__ in reason
    assert "stored document" not in reason


def test_a_sweep_fails_by_tries_and_by_time(context: ReconcileContext, expanded: Any, clock: Clock) -> None:
    sweep, _ = expanded()
    guard = SweepGuard(context)
    for _ in range(5 * MAX_CONSECUTIVE_ERRORS):
        guard.run(sweep.id, "advance", raising(KeyError("x")))
    assert state(context, sweep) == "running", "what fails often in a moment may be over in the next"
    clock.now += MIN_SECONDS
    guard.run(sweep.id, "launch", raising(KeyError("x")))
    assert state(context, sweep) == "running", "another action"
    guard.run(sweep.id, "advance", raising(KeyError("x")))
    assert state(context, sweep) == "failed"


def state(context: ReconcileContext, sweep: Sweep) -> str:
    with context.read() as session:
        return sweeps.get(session, sweep.id).state


def test_of_the_packs_of_a_sweep_that_fails_nothing_is_kept(
    context: ReconcileContext, expanded: Any, launched: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    context.checkpoint_store.note(pack.id, Poll(state="running", reports=[], progress={}, unsaved="it is full"))
    assert "trains on" in str(context.checkpoint_store.problem)
    SweepGuard(context).run(sweep.id, "launch", raising(InvalidDocument("it is not valid")))
    assert "trains on" not in str(context.checkpoint_store.problem)


def test_a_sweep_that_was_deleted_after_it_was_chosen_is_passed_over(
    context: ReconcileContext, database: Database, new_sweep: Callable[..., Sweep], clock: Clock, caplog: Any
) -> None:
    guard, sweep = SweepGuard(context), new_sweep()
    for _ in range(2 * MAX_CONSECUTIVE_ERRORS):
        clock.now += MIN_SECONDS
        guard.run(sweep.id, "advance", raising(NotFound("sweep", sweep.id)))
    assert caplog.records == []
    guard.run(sweep.id, "advance", raising(NotFound("pack", "p")))
    assert len(caplog.records) == 1
    with database.read() as session:
        assert sweeps.get(session, sweep.id).state == "queued"
