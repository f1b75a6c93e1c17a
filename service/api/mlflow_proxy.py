"""MLflow under ``/mlflow``: requests are handed on to its server, which nobody else can reach, and answers come back.

Who may send one is decided before, by what admits requests to the API. MLflow gets neither their token nor their
cookie, but the secret that the API shares with it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

import httpx
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.problems import problem
from service.http_client import ConnectionUnusable, async_http_client, reason
from service.mlflow_server import SECRET

log = logging.getLogger(__name__)

PATH = "/mlflow"
SECONDS = 60.0
"""For how long MLflow may send nothing."""
MOST_CONNECTIONS = 40
NOT_HANDED_ON = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"),
        *("host", "authorization", "proxy-authorization", "cookie", "set-cookie", "origin", "referer", "forwarded"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "server", "date", "x-frame-options"),
    }
)
"""Headers of one connection, and those that say who asks, from where, or that set a cookie."""
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""For artifacts and data: whatever is in them, it runs no script as a page of this service."""


class MlflowProxy:
    """ASGI application that hands requests on to an MLflow server. Bodies pass through in pieces, in both directions.

    Args:
        server: The address of the MLflow server.
    """

    def __init__(self, server: str) -> None:
        self._server, self._secret = server.rstrip("/"), os.environ.get(SECRET, "")
        self._http: httpx.AsyncClient | None = None
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            answer = await self._answer(Request(scope, receive))
            await answer(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to MLflow."""
        if self._http is not None:
            await self._http.aclose()

    async def _answer(self, request: Request) -> Response:
        # as it came: a decoded path would not tell a slash from one that is a part of a file's name
        raw = bytes(request.scope["raw_path"]).decode("ascii", "replace")
        if not raw.startswith(f"{PATH}/"):  # an encoded slash; what follows it would become a part of MLflow's address
            return problem(404, "Not found", f"addresses of MLflow begin with {PATH}/, its slash not encoded")
        path = raw.removeprefix(PATH)
        try:
            self._http = self._http or async_http_client(self._server, timeout=SECONDS, connections=MOST_CONNECTIONS)
            reply = await self._http.send(self._handed_on(request, path), stream=True)
        except (httpx.HTTPError, ConnectionUnusable) as error:
            log.warning("MLflow does not answer at %s: %s", self._server, reason(error))
            detail = "MLflow does not answer; training goes on, and MLflow gets the rest later"
            return problem(503, "MLflow unavailable", detail, headers={"Retry-After": "5"})
        except httpx.InvalidURL as error:
            return problem(400, "Invalid address", str(error))
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        headers = {name: value for name, value in reply.headers.items() if name not in NOT_HANDED_ON}
        if "location" in headers:
            headers["location"] = self._as_seen(headers["location"])
        page = path == "/" or path.startswith("/static-files/")
        headers["content-security-policy"] = PAGE_POLICY if page else FILE_POLICY
        return StreamingResponse(_pieces(reply), reply.status_code, headers)

    def _handed_on(self, request: Request, path: str) -> httpx.Request:
        assert self._http is not None
        headers = {name: value for name, value in request.headers.items() if name not in NOT_HANDED_ON}
        if self._secret:
            headers["authorization"] = f"Bearer {self._secret}"
        query = f"?{request.url.query}" if request.url.query else ""
        return self._http.build_request(
            request.method, f"{self._server}{path}{query}", headers=headers, content=_body(request)
        )

    def _as_seen(self, location: str) -> str:
        """Return where a redirect of MLflow leads, as a browser reaches it."""
        inside = location.removeprefix(self._server)
        return f"{PATH}{inside}" if inside.startswith("/") and not inside.startswith("//") else inside


def _body(request: Request) -> AsyncIterator[bytes] | None:
    headers: Headers = request.headers
    return request.stream() if "content-length" in headers or "transfer-encoding" in headers else None


async def _pieces(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body as it came, compressed or not, and give the connection back at its end or if nobody reads on."""
    try:
        async for piece in reply.aiter_raw():
            yield piece
    finally:
        await reply.aclose()
