"""Tokens, and the sessions of browsers that signed in with one. Only digests are stored. The caller commits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Select, delete, func, inspect, or_, select, update
from sqlalchemy.orm import Session

from service.store import owners
from service.store.errors import NotFound
from service.store.owners import OwnerLimits
from service.store.tables import Owner, PageSession, Token


@dataclass(frozen=True)
class ValidToken:
    """A token that was found by the digest of a secret, and what its owner may have.

    Attributes:
        ends_at: When the token or, if that was found, the session ends; None for never.
    """

    token: Token
    limits: OwnerLimits
    ends_at: float | None


def are_known(engine: Engine) -> bool:
    """Return whether the database has the table of tokens."""
    return inspect(engine).has_table(Token.__tablename__)


def create(session: Session, token_id: str, digest: str, owner: str, scope: str, expires_at: float | None) -> Token:
    """Store a token and return it. Its owner is created if there is none of this name."""
    owners.ensure(session, owner)
    token = Token(id=token_id, digest=digest, owner=owner, scope=scope, expires_at=expires_at, created_at=time.time())
    session.add(token)
    session.flush()
    return token


def every(session: Session) -> Sequence[Token]:
    """Return all tokens, those of one owner together, the oldest first."""
    return session.scalars(select(Token).order_by(Token.owner, Token.created_at, Token.id)).all()


def any_exist(session: Session) -> bool:
    """Return whether there is a token, valid or not."""
    return session.scalar(select(Token.id).limit(1)) is not None


def revoke(session: Session, token_id: str) -> Token:
    """Revoke a token and end its sessions, at once. A token that was revoked before stays as it is.

    Raises:
        NotFound: There is no token with this id.
    """
    token = session.get(Token, token_id, with_for_update=True)
    if token is None:
        raise NotFound("token", token_id)
    if token.revoked_at is None:
        token.revoked_at = time.time()
    session.execute(delete(PageSession).where(PageSession.token_id == token_id))
    session.flush()
    return token


def by_token(session: Session, digest: str) -> ValidToken | None:
    """Return the token whose text has a digest, valid or not; None if there is none."""
    row = session.execute(_with_owner().where(Token.digest == digest)).one_or_none()
    return None if row is None else ValidToken(row[0], owners.limits_of(row[1]), row[0].expires_at)


def by_session(session: Session, digest: str) -> ValidToken | None:
    """Return the token of the browser session whose cookie has a digest, valid or not; None if there is none."""
    query = _with_owner().join(PageSession, PageSession.token_id == Token.id).add_columns(PageSession.expires_at)
    row = session.execute(query.where(PageSession.digest == digest)).one_or_none()
    if row is None:
        return None
    ends = row[2] if row[0].expires_at is None else min(row[2], row[0].expires_at)
    return ValidToken(row[0], owners.limits_of(row[1]), ends)


def _with_owner() -> Select[Token, Owner]:
    return select(Token, Owner).join(Owner, Owner.name == Token.owner)


def sign_in(session: Session, digest: str, token_id: str, expires_at: float) -> None:
    """Store a browser session of a token, and remove those that have ended."""
    now = time.time()
    session.execute(delete(PageSession).where(PageSession.expires_at < now))
    session.add(PageSession(digest=digest, token_id=token_id, created_at=now, expires_at=expires_at))
    session.flush()


def sign_out(session: Session, digest: str) -> None:
    """Remove a browser session, if there is one."""
    session.execute(delete(PageSession).where(PageSession.digest == digest))


def count_sessions(session: Session, token_id: str) -> int:
    """Return how many browser sessions of a token are stored."""
    query = select(func.count()).select_from(PageSession)
    return session.scalar(query.where(PageSession.token_id == token_id)) or 0


def note_use(session: Session, token_ids: Iterable[str], at: float, sparing: float) -> None:
    """Store that tokens were used, except for those whose last stored use is less than ``sparing`` seconds ago."""
    old = or_(Token.used_at.is_(None), Token.used_at < at - sparing)
    session.execute(update(Token).where(Token.id.in_(list(token_ids)), old).values(used_at=at))
