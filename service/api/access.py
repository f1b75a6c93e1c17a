"""Signing in and out, who one is, and the audit log."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from service import schemas
from service.access.credentials import Unauthenticated, admitted, cookie_name, cookies, shown
from service.access.principal import LOCAL, Principal, mark
from service.access.token_text import digest
from service.api.deps import Context, Ctx, Who
from service.api.json_body import Posted
from service.api.problems import Refused
from service.api.strict_query import Known
from service.store import audit, tokens
from workers.errors import FieldError

router = APIRouter(prefix="/v1", tags=["access"], dependencies=[Known])

SESSION_SECONDS = 12 * 3600.0
"""After this time at the latest a browser has to sign in again."""
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"token": {"type": "string"}},
                    "required": ["token"],
                    "additionalProperties": False,
                }
            }
        },
    }
}


class AuditListing(BaseModel):
    """The query parameters of the audit log."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(100, ge=1, le=1000, description="The largest number of entries to return.")
    before: int | None = Field(None, ge=0, le=2**53, description="``next_before`` of the page before.")
    owner: str | None = Field(None, max_length=60, description="Only what this owner did.")
    refused: bool = Field(False, description="Only what was refused.")


@router.get("/tokens/self")
def who_am_i(who: Who) -> schemas.WhoAmI:
    """Return who makes this request, and what they may do."""
    return _view(who)


@router.post("/session", openapi_extra=BODY)
def sign_in(document: Posted, context: Ctx, request: Request, response: Response) -> schemas.WhoAmI:
    """Sign a browser in with a token. The answer sets a cookie that no script can read, valid for at most 12 hours.

    The session ends with its token, or by ``DELETE``. While no tokens are required, nothing is set.
    """
    content = document.content
    if not isinstance(content, dict) or set(content) != {"token"} or not isinstance(content["token"], str):
        error = FieldError("token", None, "is not the only field, or is not text", 'a document {"token": "srs_..."}')
        raise Refused(422, "Invalid request", str(error), [error])
    if not context.settings.requires_tokens:
        return _view(LOCAL)
    who = _admitted(context, content["token"])
    mark(request.scope, who)  # for the audit log
    secret, https = secrets.token_urlsafe(32), request.url.scheme == "https"
    now = time.time()
    ends = min(now + SESSION_SECONDS, who.expires_at or float("inf"))
    with context.database.write() as session:
        tokens.sign_in(session, digest(secret), str(who.token_id), ends)
    response.set_cookie(
        cookie_name(https), secret, max_age=int(ends - now), path="/", secure=https, httponly=True, samesite="strict"
    )
    return _view(Principal(who.owner, who.scope, who.token_id, ends))


@router.delete("/session", status_code=204)
def sign_out(context: Ctx, request: Request) -> Response:
    """End the session of this browser, whose cookie is removed. Without a session nothing happens."""
    https = request.url.scheme == "https"
    found = [value for name, value in cookies(request.scope["headers"]) if name == cookie_name(https)]
    if found:
        with context.database.write() as session:
            for value in found[:4]:
                tokens.sign_out(session, digest(value))
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(https), path="/", secure=https, httponly=True, samesite="strict")
    return response


@router.get("/audit")
def read_audit(context: Ctx, query: Annotated[AuditListing, Query()]) -> schemas.AuditPage:
    """Return what was changed and what was refused, the newest first. It needs the scope ``admin``."""
    with context.database.read() as session:
        rows = audit.page(session, query.limit, query.before, query.owner, query.refused)
    entries = [schemas.AuditView.model_validate(row, from_attributes=True) for row in rows]
    return schemas.AuditPage(entries=entries, next_before=rows[-1].id if len(rows) == query.limit else None)


def _admitted(context: Context, token: str) -> Principal:
    """Return who signs in with a token; raise Refused with status 401 if it is not valid."""
    try:
        credentials = shown([(b"authorization", f"Bearer {token}".encode())], https=False)
        with context.database.read() as session:
            return admitted(session, credentials)
    except Unauthenticated as error:
        raise Refused(401, "Not signed in", str(error)) from None


def _view(who: Principal) -> schemas.WhoAmI:
    return schemas.WhoAmI.model_validate(who, from_attributes=True)
