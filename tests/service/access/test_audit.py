"""The audit log: every change and every refusal, who, what, when, from where; no secret, and no end without bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.access import audit_log
from service.access.audit_log import AuditLog
from service.store import audit, tokens
from service.store.database import Database
from service.store.tables import AuditEntry
from tests.service.access.conftest import NewToken
from tests.waiting import until

Call = Callable[..., httpx.Response]


def entries(database: Database, count: int, seconds: float = 60.0) -> list[AuditEntry]:
    """Return the entries of requests, the oldest first, once there are as many as ``count``."""

    def found() -> list[AuditEntry]:
        with database.read() as session:
            return [row for row in audit.page(session, 1000) if row.client != "command line"][::-1]

    until(lambda: len(found()) >= count, seconds)
    assert len(found()) == count, [row.action for row in found()]
    return found()


def test_changes_and_refusals_are_written_and_reading_is_not(
    call: Call, database: Database, new_token: NewToken, document: dict[str, Any]
) -> None:
    ada, eve, reader = new_token("ada"), new_token("eve"), new_token("ada", "read")
    id = call("POST", "/v1/sweeps", ada, json=document).json()["id"]
    for path in ("/v1/sweeps", f"/v1/sweeps/{id}", "/v1/tasks", "/health/ready", "/"):
        assert call("GET", path, ada).status_code in (200, 503)
    call("POST", "/v1/sweeps/validate", ada, json=document)
    call("POST", f"/v1/sweeps/{id}/pause", ada)
    call("POST", f"/v1/sweeps/{id}/pause", eve)
    call("GET", f"/v1/trials/{id}-0000", eve)
    call("POST", f"/v1/sweeps/{id}/resume", reader)
    call("GET", f"/v1/sweeps?token={ada}")
    call("GET", f"/v1/{ada}", eve)
    call("GET", "/v1/sweeps", headers={"Host": "evil.example"})
    call("POST", "/v1/sweeps", ada, headers={"Origin": "http://evil.example"})
    call("POST", "/v1/session", json={"token": ada})
    call("POST", "/v1/sweeps", ada, json={"name": 3})
    found = entries(database, 11)
    assert [
        (row.owner, row.action.replace(id, "ID"), (row.subject or "-").replace(id, "ID"), row.status) for row in found
    ] == [
        ("ada", "POST /v1/sweeps", "ID", 202),
        ("ada", "POST /v1/sweeps/ID/pause", "ID", 202),
        ("eve", "POST /v1/sweeps/ID/pause", "ID", 404),
        ("eve", "GET /v1/trials/ID-0000", "ID-0000", 404),
        ("ada", "POST /v1/sweeps/ID/resume", "ID", 403),
        (None, "GET /v1/sweeps", "-", 401),
        (None, f"GET /v1/srs_{ada.split('_')[1]}_...", "-", 401),
        (None, "GET /v1/sweeps", "-", 421),
        (None, "POST /v1/sweeps", "-", 403),
        ("ada", "POST /v1/session", "-", 200),
        ("ada", "POST /v1/sweeps", "-", 422),
    ]
    assert [row.reason for row in found[:5]] == [
        None,
        None,
        "owned by another",
        "owned by another",
        "needs the scope submit",
    ]
    assert {row.client for row in found} == {"127.0.0.1"}
    assert found[0].token_id == ada.split("_")[1]
    assert all(token.rpartition("_")[2] not in str(vars(row)) for row in found for token in (ada, eve, reader))


def test_administrators_read_it_page_by_page(call: Call, database: Database, new_token: NewToken) -> None:
    root = new_token("root", "admin")
    for number in range(5):
        call("GET", f"/v1/{number}")
    entries(database, 5)
    first = call("GET", "/v1/audit?limit=2&refused=true", root).json()
    assert [row["action"] for row in first["entries"]] == ["GET /v1/4", "GET /v1/3"]
    rest = call("GET", f"/v1/audit?limit=10&refused=true&before={first['next_before']}", root).json()
    assert [row["action"] for row in rest["entries"]] == ["GET /v1/2", "GET /v1/1", "GET /v1/0"]
    assert rest["next_before"] is None
    assert call("GET", "/v1/audit?owner=nobody", root).json()["entries"] == []
    (made,) = [row for row in call("GET", "/v1/audit", root).json()["entries"] if row["client"] == "command line"]
    assert (made["action"], made["subject"]) == ("token create --owner root --scope admin", root.split("_")[1])


def test_the_use_of_a_token_is_stored_sparingly(call: Call, database: Database, new_token: NewToken) -> None:
    token = new_token()
    call("GET", "/v1/sweeps", token)
    used = until(lambda: _used_at(database))
    assert used is not None
    with database.write() as session:
        tokens.note_use(session, [token.split("_")[1]], used + 10, 300)
    assert _used_at(database) == used
    with database.write() as session:
        tokens.note_use(session, [token.split("_")[1]], used + 301, 300)
    assert _used_at(database) == used + 301


def _used_at(database: Database) -> float | None:
    with database.read() as session:
        return tokens.every(session)[0].used_at


def entry(action: str) -> AuditEntry:
    return AuditEntry(action=action, client="", status=401)


def test_a_flood_is_counted_and_costs_a_bounded_number_of_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_WAITING", 3)
    log = AuditLog(database)
    for number in range(10):
        log.note(entry(f"GET /{number}"))
    log.flush()
    with database.read() as session:
        rows = audit.page(session, 100)[::-1]
    assert [row.action for row in rows] == ["GET /0", "GET /1", "GET /2", "(left out)"]
    assert rows[-1].reason is not None
    assert rows[-1].reason.startswith("7 more requests")


def test_what_waits_is_stored_when_the_database_takes_writes_again(database: Database) -> None:
    log = AuditLog(database)
    log.note(entry("GET /kept"))
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO away")
    log.flush()
    log.note(entry("GET /later"))
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO audit")
    log.start()
    log.close()
    with database.read() as session:
        assert [row.action for row in audit.page(session, 10)] == ["GET /later", "GET /kept"]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_path_with_a_nul_is_answered_and_does_not_keep_the_log_from_being_written(
    backend: str, call: Call, database: Database, new_token: NewToken
) -> None:
    ada = new_token("ada")
    assert call("GET", "/v1/sweeps/%00").status_code == 401
    assert call("GET", "/v1/sweeps/%00", ada).status_code in (404, 422), backend
    assert call("GET", "/v1/later").status_code == 401
    assert [row.action for row in entries(database, 2)] == ["GET /v1/sweeps/\ufffd", "GET /v1/later"]


def test_old_and_too_many_entries_are_removed(database: Database) -> None:
    now = time.time()
    with database.write() as session:
        audit.record(session, [AuditEntry(at=now - 100 + i, action=str(i), client="", status=200) for i in range(100)])
        audit.prune(session, seconds=1e6, entries=60)
        assert [row.action for row in audit.page(session, 1000)][-1] == "40"
        audit.prune(session, seconds=10.5)
        assert [row.action for row in audit.page(session, 1000)] == [str(i) for i in range(99, 89, -1)]
