"""Tokens, sessions and the audit log, on both databases."""

from __future__ import annotations

import time

import pytest

from service.access.administration import create_token, revoke_token
from service.access.credentials import Credentials, Unauthenticated, admitted
from service.access.token_text import digest
from service.store import audit, owners, tokens
from service.store.database import Database
from service.store.errors import NotFound

BACKENDS = ["sqlite", "postgresql"]
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def admission(database: Database, secret: str, *, by_cookie: bool = False) -> str:
    """Return who a secret admits, or why it admits nobody."""
    with database.read() as session:
        try:
            found = admitted(session, Credentials(digest(secret), by_cookie))
        except Unauthenticated as error:
            return str(error)
    return f"{found.owner} {found.scope}"


def test_a_token_and_its_sessions_end_together(backend: str, database: Database) -> None:
    token, text = create_token(database, "ada", "submit", 60)
    _, other = create_token(database, "ada", "read", None)
    with database.write() as session:
        tokens.sign_in(session, digest("cookie"), token.id, time.time() + 1e6)
        assert [owner.name for owner in owners.every(session)] == ["ada"]
    assert admission(database, text) == "ada submit"
    assert admission(database, other) == "ada read"
    assert admission(database, "cookie", by_cookie=True) == "ada submit"
    assert "not known" in admission(database, "cookie")
    assert "not known" in admission(database, text, by_cookie=True)
    with database.read() as session:
        found = tokens.by_session(session, digest("cookie"))
        assert found is not None
        assert found.ends_at == token.expires_at, "a session does not outlive its token"
    revoke_token(database, token.id)
    revoke_token(database, token.id)
    assert "revoked" in admission(database, text)
    assert "not known" in admission(database, "cookie", by_cookie=True)
    assert admission(database, other) == "ada read"


def test_a_session_stored_after_its_token_was_revoked_admits_nobody(backend: str, database: Database) -> None:
    token, _ = create_token(database, "ada", "submit", None)
    revoke_token(database, token.id)
    with database.write() as session:
        tokens.sign_in(session, digest("late"), token.id, time.time() + 60)
    assert "revoked" in admission(database, "late", by_cookie=True)


def test_commands_are_in_the_audit_log_in_their_own_transaction(backend: str, database: Database) -> None:
    token, _ = create_token(database, "ada", "submit", None)
    with pytest.raises(NotFound):
        revoke_token(database, "nothing")
    revoke_token(database, token.id)
    with database.read() as session:
        rows = audit.page(session, 10)
    assert [(row.action, row.subject) for row in rows] == [
        (f"token revoke {token.id}", token.id),
        ("token create --owner ada --scope submit", token.id),
    ]
