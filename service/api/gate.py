"""The gate: the one place where it is decided whether a request is answered. It stands around the whole application.

In this order it looks at the host, the page that a browser sends the request from, the token or the session, its scope,
the owner of the sweep, and the owner's requests per second. What it refuses reaches no route. It writes the audit log
and adds the security headers to every answer.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.audit_log import AuditLog
from service.access.credentials import Credentials, Unauthenticated, admitted, shown
from service.access.hosts import AllowedHosts, foreign_page, host_of, says_where_from
from service.access.principal import LOCAL, Principal, mark, principal_of
from service.access.rate_limits import RateLimits
from service.access.scopes import TokenScope
from service.access.token_text import FORM, without_secrets
from service.api import problems, route_rules, security_headers
from service.settings import ApiSettings
from service.store import sweeps
from service.store.database import Database
from service.store.errors import NotFound
from service.store.tables import AuditEntry

log = logging.getLogger(__name__)

RECHECK_SECONDS = 15.0
"""An answer that takes longer, such as an event stream, ends within this time after its token has ended."""
IN_THE_ADDRESS = (
    "a token in the address is not accepted, since addresses are kept in logs and histories; revoke it, and send "
    "another as: Authorization: Bearer TOKEN"
)


class _Denied(Exception):
    """The gate refuses a request.

    Args:
        answer: The response.
        reason: Why, for the audit log.
    """

    def __init__(self, answer: Response, reason: str) -> None:
        self.answer, self.reason = answer, reason


@dataclass
class _Visit:
    """One request: what is known of it so far."""

    request: Request
    host: tuple[str, str] = ("", "")
    credentials: Credentials | None = None
    principal: Principal | None = None
    checked_at: float = field(default_factory=time.monotonic)

    @property
    def scope(self) -> Scope:
        """The request's ASGI scope."""
        return self.request.scope

    @property
    def path(self) -> str:
        """The path as routes see it."""
        return str(self.scope["path"])

    @property
    def https(self) -> bool:
        """Whether the request came by TLS, to us or to a proxy that we trust."""
        return str(self.scope.get("scheme")) == "https"


class Gate:
    """ASGI middleware that admits or refuses requests.

    Args:
        app: What is behind the gate.
        settings: Whether tokens are required, and for which hosts.
        database: Where tokens and owners are stored.
        audit: Where what happens is written.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings, database: Database, audit: AuditLog) -> None:
        self._app, self._settings, self._database, self._audit = app, settings, database, audit
        self._hosts = AllowedHosts(settings.host, filter(None, (settings.allowed_hosts or "").split(",")))
        self._rates = RateLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Web sockets, which no route has, are closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._visit(_Visit(Request(scope)), receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _visit(self, visit: _Visit, receive: Receive, send: Send) -> None:
        refused, over, begun = None, False, False

        async def guarded(message: Message) -> None:
            nonlocal over, begun
            if over:
                return
            if message["type"] == "http.response.start":
                begun = True
                security_headers.add(message, visit.path, visit.https)
                self._note(visit, message, refused.reason if refused else None)
            elif message.get("more_body") and not await self._still_admitted(visit):
                over, message = True, {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        try:
            mark(visit.scope, await self._admit(visit))
        except _Denied as denied:
            refused = denied
            await denied.answer(visit.scope, receive, guarded)
        else:
            try:
                await self._app(visit.scope, receive, guarded)
            except Exception:
                if not begun:  # the answer is made outside; a change may have had its effect all the same
                    self._note(visit, {"type": "http.response.start", "status": 500, "headers": []}, None)
                raise

    async def _admit(self, visit: _Visit) -> Principal | None:
        """Return who makes the request; None on an open route, for a request without a valid token.

        Raises:
            _Denied: The request is refused.
        """
        method, path = visit.request.method, visit.path
        self._check_host(visit)
        self._check_page(visit)
        if FORM.search(visit.request.url.query) or FORM.search(path):
            raise _Denied(_unauthenticated(IN_THE_ADDRESS), "a token in the address")
        if not self._settings.requires_tokens:
            visit.principal = LOCAL
            return LOCAL
        needed = route_rules.scope_needed(method, path)
        if needed is None and path != route_rules.MORE_WHEN_ADMITTED:
            return None
        try:
            visit.credentials = shown(visit.scope["headers"], visit.https)
            visit.principal = await run_in_threadpool(self._identify, visit.credentials)
        except (Unauthenticated, SQLAlchemyError) as error:
            if needed is None:
                return None
            if isinstance(error, Unauthenticated):
                raise _Denied(_unauthenticated(str(error)), str(error)) from None
            raise _Denied(problems.of(visit.request, error), "the database did not answer") from None
        if needed is not None:
            self._check_own_page(visit)
            await self._check_right(visit, visit.principal, needed)
        return visit.principal

    def _check_host(self, visit: _Visit) -> None:
        host = host_of(visit.scope["headers"])
        if host is None:
            detail = "the request has no Host header, several of them, or one that is no name or address"
            raise _Denied(problems.problem(400, "Wrong host", detail), detail)
        visit.host = host
        if not self._hosts.admits(host[0]):
            name = repr(host[0][:100])
            detail = f"this service does not answer as {name}; if that is its name, add it to SPECTRAL_ALLOWED_HOSTS"
            raise _Denied(problems.problem(421, "Unknown host", detail), f"the host {name}")

    def _check_page(self, visit: _Visit) -> None:
        if visit.request.method in route_rules.READING:
            return
        foreign = foreign_page(visit.scope["headers"], visit.host)
        if foreign:
            detail = f"a page of another site may not change anything here: {foreign}"
            raise _Denied(problems.problem(403, "Foreign page", detail), foreign)

    def _check_own_page(self, visit: _Visit) -> None:
        """Refuse a change by a browser's cookie, unless the browser says that a page of ours asked for it."""
        assert visit.credentials is not None
        if visit.request.method in route_rules.READING or not visit.credentials.by_cookie:
            return
        if not says_where_from(visit.scope["headers"]):
            detail = "with a session, a request that changes something needs an Origin header; send a token instead"
            raise _Denied(problems.problem(403, "Foreign page", detail), "a session without an Origin header")

    async def _check_right(self, visit: _Visit, principal: Principal, needed: TokenScope) -> None:
        if principal.requests_per_second is not None:
            wait = self._rates.wait(principal.owner, principal.requests_per_second)
            if wait:
                detail = f"{principal.owner} may make {principal.requests_per_second:g} requests per second; wait"
                headers = {"Retry-After": str(math.ceil(wait))}
                raise _Denied(problems.problem(429, "Too many requests", detail, headers=headers), "too many requests")
        if not principal.may(needed):
            detail = f"this call needs the scope {needed}, and the token has {principal.scope}; ask an administrator"
            raise _Denied(problems.problem(403, "Not permitted", detail), f"needs the scope {needed}")
        subject = route_rules.subject_of(visit.path)
        if subject is None or principal.is_admin:
            return
        kind, id, sweep_id = subject
        try:
            owner = await run_in_threadpool(self._owner_of, sweep_id)
        except SQLAlchemyError as error:
            raise _Denied(problems.of(visit.request, error), "the database did not answer") from None
        if owner != principal.owner:  # also without such a sweep, so that both answers are the same in every respect
            reason = "owned by another" if owner else "no such sweep"
            raise _Denied(problems.of(visit.request, NotFound(kind, id)), reason)

    async def _still_admitted(self, visit: _Visit) -> bool:
        """Return whether the token or session of a long answer is valid; it is looked at every ``RECHECK_SECONDS``."""
        if visit.credentials is None or time.monotonic() - visit.checked_at < RECHECK_SECONDS:
            return True
        visit.checked_at = time.monotonic()
        try:
            await run_in_threadpool(self._identify, visit.credentials)
        except Unauthenticated:
            return False
        except SQLAlchemyError:
            log.warning("a long answer goes on: the database did not say whether its token is still valid")
        return True

    def _identify(self, credentials: Credentials) -> Principal:
        with self._database.read() as session:
            found = admitted(session, credentials)
        self._audit.note_use(str(found.token_id))
        return found

    def _owner_of(self, sweep_id: str) -> str | None:
        with self._database.read() as session:
            return sweeps.owner_of(session, sweep_id)

    def _note(self, visit: _Visit, start: Message, reason: str | None) -> None:
        """Write a change or a refusal to the audit log."""
        method, path, status = visit.request.method, visit.path, int(start["status"])
        if reason is None and not route_rules.changes_something(method, path):
            return
        subject = route_rules.subject_of(path)
        made = Headers(raw=start["headers"]).get("location", "").rpartition("/")[2]
        who, client = visit.principal or principal_of(visit.scope), visit.scope.get("client")
        self._audit.note(
            AuditEntry(
                owner=who.owner if who else None,
                token_id=who.token_id if who else None,
                action=without_secrets(f"{method} {path}")[:200],
                subject=(subject[1] if subject else made)[:48] or None,
                client=str(client[0])[:64] if client else "",
                status=status,
                reason=reason and reason[:200],
            )
        )


def _unauthenticated(detail: str) -> Response:
    return problems.problem(401, "Not signed in", detail, headers={"WWW-Authenticate": 'Bearer realm="spectral"'})
