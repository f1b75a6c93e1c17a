"""What an administrator does on the database itself: make, list and revoke tokens, and set limits.

Whoever can write to the database is an administrator: these functions ask for no token. Each leaves an entry in the
audit log, in its own transaction.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.access.scopes import TokenScope
from service.access.token_text import FORM, digest, new_token
from service.store import audit, owners, tokens
from service.store.database import Database
from service.store.owners import Limit
from service.store.tables import AuditEntry, Owner, Token

log = logging.getLogger(__name__)

NO_TOKEN = f"srs_{'0' * 10}_{'0' * 43}"
"""Stands for the token of an empty file."""
FIRST_OWNER = "admin"
"""The owner of the token that the first start makes."""


def create_token(database: Database, owner: str, scope: TokenScope, seconds: float | None) -> tuple[Token, str]:
    """Store a new token.

    Args:
        database: Where to store it.
        owner: Whose it is; created if there is none of this name.
        scope: What it permits.
        seconds: For how long it is valid; None for ever.

    Returns:
        The stored row, and the token's text, which cannot be read again.
    """
    token_id, text = new_token()
    with database.write() as session:
        expires_at = None if seconds is None else time.time() + seconds
        token = tokens.create(session, token_id, digest(text), owner, scope, expires_at)
        audit.record(session, [_command(f"token create --owner {owner} --scope {scope}", token_id)])
    return token, text


def revoke_token(database: Database, token_id: str) -> Token:
    """Revoke a token at once, with the sessions of browsers that signed in with it.

    Raises:
        NotFound: There is no such token.
    """
    with database.write() as session:
        token = tokens.revoke(session, token_id)
        audit.record(session, [_command(f"token revoke {token_id}", token_id)])
    return token


def limit_owner(database: Database, name: str, limits: Mapping[str, Limit]) -> Owner:
    """Set some limits of an owner, by name, and return the owner; None gives a limit its default back.

    Raises:
        NotFound: There is no such owner.
    """
    with database.write() as session:
        owner = owners.limit(session, name, limits)
        if limits:
            words = " ".join(f"{field}={'default' if value is None else value}" for field, value in limits.items())
            audit.record(session, [_command(f"token limits {name} {words}")])
    return owner


def list_tokens(database: Database) -> Sequence[Token]:
    """Return all tokens, those of one owner together, the oldest first."""
    with database.read() as session:
        return tokens.every(session)


def read_audit(database: Database, limit: int, owner: str | None, refused: bool) -> Sequence[AuditEntry]:
    """Return the newest entries of the audit log, the newest first.

    Args:
        database: Where it is stored.
        limit: The largest number of entries to return.
        owner: Whose entries to return; None for all.
        refused: Return only what was refused.
    """
    with database.read() as session:
        return audit.page(session, limit, owner=owner, refused=refused)


def is_ready(database: Database) -> bool:
    """Return whether the database has the tables that these functions need; false also for an empty database."""
    return tokens.are_known(database.engine)


def first_token(database: Database, file: Path | None) -> None:
    """Make the first administrator's token, if there is no token yet, and write it to a file that only its user reads.

    Without a file nothing is made, and the log says which command makes a token.

    Raises:
        OSError: The file cannot be written, or holds something else than a token. No token is stored then.
    """
    with database.read() as session:
        if tokens.any_exist(session):
            return
    if file is None:
        command = "spectral token create --owner NAME --scope admin"
        log.warning("there is no token yet, so nobody is admitted; make one with: %s", command)
        return
    if file.is_file() and FORM.fullmatch(file.read_text(errors="replace").strip() or NO_TOKEN):
        file.unlink()  # left by a start that ended before its token was stored, or by another database
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        token_id, text = new_token()
        opened.write(f"{text}\n")
        opened.flush()
        os.fsync(descriptor)
    with database.write() as session:
        tokens.create(session, token_id, digest(text), FIRST_OWNER, "admin", None)
        audit.record(session, [_command("first start", token_id)])
    log.warning("made the first token, of scope admin; it is in %s", file)


def _command(action: str, subject: str | None = None) -> AuditEntry:
    return AuditEntry(
        at=time.time(), owner=None, action=action[:200], subject=subject, client="command line", status=200
    )
