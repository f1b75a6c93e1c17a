"""Errors as problem documents (RFC 9457): one table maps exceptions to HTTP answers."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from service.api import security_headers
from service.states import IllegalMove
from service.store.errors import KeyReused, NotFound, QuotaExceeded
from workers.errors import FieldError, SpecError
from workers.spec.field_errors import shorten
from workers.wording import describe

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
STATUSES = {
    400: "The request has no usable Host header",
    401: "A token or a session is needed",
    403: "The token or the page that the request comes from does not permit it",
    404: "There is no such thing",
    405: "The path has no such method",
    408: "The body was not sent in time",
    409: "Not possible in this state, or an idempotency key with another body",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    421: "The service does not answer under this name",
    422: "A value is not allowed; ``errors`` names each",
    429: "Too many requests, sweeps or trials for the owner of the token",
    431: "Path, query and headers are too large",
    500: "The service made a mistake",
    503: "The database does not answer, or too many requests wait; try again after ``Retry-After`` seconds",
}
"""The statuses with which any call may be refused, and what each means: the answers are problem documents."""


def documented() -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI schema says of every call's refusals."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": meaning, "content": content} for status, meaning in STATUSES.items()}


class Refused(Exception):
    """The API refuses a request before it reaches the store: a wrong body, query parameter or cursor.

    Args:
        status: The HTTP status code.
        title: The problem document's ``title``, the kind of problem in words.
        detail: The problem document's ``detail``, what went wrong in this request.
        errors: The wrong fields; none by default.
        retry: Whether the answer has a ``Retry-After`` header, with ``RETRY_SECONDS``.
    """

    def __init__(
        self, status: int, title: str, detail: str, errors: list[FieldError] | None = None, *, retry: bool = False
    ) -> None:
        self.status, self.title, self.errors, self.retry = status, title, errors or [], retry
        super().__init__(detail)


def busy() -> Refused:
    """Return the refusal of a request that this process cannot answer soon; nothing of it was done."""
    detail = "more requests are waiting than can be answered soon, so this one was not looked at; try again in a moment"
    return Refused(503, "Busy", detail, retry=True)


@dataclass(frozen=True)
class ProblemKind:
    """How an exception is answered: a value of ``KINDS``.

    Attributes:
        status: The HTTP status code.
        title: The kind of problem in words.
        detail: What the problem document says went wrong; if it is empty, the exception's own message is taken.
        retry: Whether the answer has a ``Retry-After`` header, with ``RETRY_SECONDS``.
    """

    status: int
    title: str
    detail: str = ""
    retry: bool = False


_UNAVAILABLE = ProblemKind(
    503,
    "Database unavailable",
    "the database did not answer, so it is not known whether the call had an effect; try again in a moment",
    retry=True,
)
KINDS: dict[type[Exception], ProblemKind] = {
    SpecError: ProblemKind(422, "Invalid sweep"),
    NotFound: ProblemKind(404, "Not found"),
    IllegalMove: ProblemKind(409, "Not possible in this state"),
    KeyReused: ProblemKind(409, "Idempotency key reused"),
    QuotaExceeded: ProblemKind(403, "Quota exceeded"),
    DataError: ProblemKind(
        422,
        "Invalid request",
        "a value is one that the database can neither store nor look for, such as one with a NUL",
    ),
    OperationalError: _UNAVAILABLE,
    InterfaceError: _UNAVAILABLE,
    PoolTimeout: _UNAVAILABLE,
    Exception: ProblemKind(500, "Internal error", "the service made a mistake; its log has the details"),
}


def problem(
    status: int, title: str, detail: str, errors: list[FieldError] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return the response with a problem document; the document's ``type`` is a URN made from the title."""
    document: dict[str, Any] = {
        "type": f"urn:spectral:problem:{title.lower().replace(' ', '-')}",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": [error.as_dict() for error in errors or []],
    }
    return Response(json.dumps(document), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make the application answer every exception with a problem document, also those of FastAPI and Starlette."""
    for exception in KINDS:
        app.add_exception_handler(exception, of if exception is not Exception else _unforeseen)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _framework)


def of(request: Request, error: Exception) -> Response:
    """Return the response for an exception of ``KINDS``, or one derived from it."""
    kind = next(KINDS[base] for base in type(error).__mro__ if base in KINDS)
    if kind.status >= 500:
        log.warning("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
    errors = error.errors if isinstance(error, SpecError) else None
    return problem(kind.status, kind.title, kind.detail or _summary(error), errors, _retry(kind.retry))


def _unforeseen(request: Request, error: Exception) -> Response:
    """Return the answer to a mistake of the service. It passes no middleware, so it gets its headers here."""
    answer = of(request, error)
    start: Message = {"type": "http.response.start", "headers": answer.raw_headers}
    security_headers.add(start, request.url.path, request.url.scheme == "https")
    answer.raw_headers = start["headers"]
    return answer


def _summary(error: Exception) -> str:
    if isinstance(error, SpecError) and len(error.errors) > 1:
        return f"{len(error.errors)} fields are wrong; the first is {error.errors[0]}"
    return str(error)


def refusal(error: Refused) -> Response:
    """Return the answer to a refused request."""
    return problem(error.status, error.title, str(error), error.errors, _retry(error.retry))


def _retry(wanted: bool) -> dict[str, str] | None:
    return {"Retry-After": str(RETRY_SECONDS)} if wanted else None


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error)


def _invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_parameter_error(item) for item in error.errors()]
    return problem(422, "Invalid request", "; ".join(str(e) for e in errors), errors)


def _parameter_error(item: dict[str, Any]) -> FieldError:
    """Return the error of one wrong query, path or header value, from pydantic's description of it."""
    field = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    problem, allowed = describe(item["type"], item.get("ctx") or {}, str(item["msg"]))
    if item["type"] == "extra_forbidden":
        problem = "is not a parameter of this call"
    given = None if item["type"] == "missing" else item.get("input")
    return FieldError(field, shorten(given), problem, allowed)


def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase.capitalize()
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return problem(error.status_code, title, detail, headers=dict(error.headers or {}))
