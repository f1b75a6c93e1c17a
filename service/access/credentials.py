"""What a request shows to be admitted: a token in its Authorization header, or the cookie of a browser's session."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.access.principal import Principal
from service.access.token_text import FORM, digest
from service.store import tokens

Headers = Iterable[tuple[bytes, bytes]]
"""The headers of an ASGI scope."""

MAX_LENGTH = 200
"""A longer Authorization header holds no token, and is not looked at."""
COOKIE = "spectral_session"
_COOKIE_FORM = re.compile(r"[0-9A-Za-z_-]{43}")


class Unauthenticated(Exception):
    """A request shows nothing that admits it. The message says why, and is shown to the client."""


@dataclass(frozen=True)
class Credentials:
    """What a request shows.

    Attributes:
        digest: The SHA-256 of the token or of the cookie.
        by_cookie: Whether a browser sent it by itself, also if the page that made it send it is a stranger's.
    """

    digest: str
    by_cookie: bool


def cookie_name(https: bool) -> str:
    """Return the name of the session's cookie. With ``__Host-`` browsers accept it only by TLS and for this host."""
    return f"__Host-{COOKIE}" if https else COOKIE


def shown(headers: Headers, https: bool) -> Credentials:
    """Return what a request shows.

    Raises:
        Unauthenticated: It shows nothing, or something that cannot be a token.
    """
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return _of_cookie(headers, https)
    if len(found) > 1:
        raise Unauthenticated(f"there are {len(found)} Authorization headers; send one")
    scheme, _, text = found[0][: MAX_LENGTH + 1].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("the scheme of the Authorization header is not Bearer; send: Authorization: Bearer TOKEN")
    if len(found[0]) > MAX_LENGTH or not FORM.fullmatch(text):
        raise Unauthenticated("what was sent is not a token; a token is srs_, an id, _ and 43 letters and digits")
    return Credentials(digest(text), by_cookie=False)


def admitted(session: Session, credentials: Credentials) -> Principal:
    """Return who makes a request that shows these credentials.

    Raises:
        Unauthenticated: They are not known, have expired or were revoked.
    """
    find = tokens.by_session if credentials.by_cookie else tokens.by_token
    found, what = find(session, credentials.digest), "session" if credentials.by_cookie else "token"
    if found is None:
        raise Unauthenticated(f"the {what} is not known here" + ("; sign in again" if credentials.by_cookie else ""))
    if found.token.revoked_at is not None:
        raise Unauthenticated("the token was revoked; ask an administrator for another")
    if found.ends_at is not None and found.ends_at <= time.time():
        remedy = "sign in again" if credentials.by_cookie else "ask an administrator for another"
        raise Unauthenticated(f"the {what} has expired; {remedy}")
    token = found.token
    return Principal(token.owner, token.scope, token.id, found.ends_at, found.limits.requests_per_second)  # type: ignore[arg-type]  # a column is plain text


def _of_cookie(headers: Headers, https: bool) -> Credentials:
    found = [value for name, value in cookies(headers) if name == cookie_name(https)]
    # two of this name: one is from another program on this host, and it is not known which
    if len(found) != 1 or not _COOKIE_FORM.fullmatch(found[0]):
        raise Unauthenticated("a token is needed; send: Authorization: Bearer TOKEN")
    return Credentials(digest(found[0]), by_cookie=True)


def cookies(headers: Headers) -> list[tuple[str, str]]:
    """Return the names and values of the cookies of a request, in order, also if a name comes twice."""
    lines = [value.decode("latin-1") for name, value in headers if name == b"cookie"]
    pairs = [pair.partition("=") for line in lines for pair in line.split(";")]
    return [(name.strip(), value.strip()) for name, _, value in pairs]
