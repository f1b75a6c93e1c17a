"""The door of MLflow's server: it demands a secret, if there is one, and refuses what pages of other sites send.

MLflow alone trusts every page of every other server on this machine, and every host whose name begins like an address
of a private network, such as ``10.example.org``.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/health", "/version")
"""What is answered without the secret."""
NOT_SERVED = (
    *("/ajax-api/3.0/mlflow/assistant", "/ajax-api/3.0/jobs"),
    *("/gateway", "/ajax-api/2.0/mlflow/gateway-proxy", "/ajax-api/3.0/mlflow/gateway"),
)
"""What MLflow can do beside its work here, and what would let its users run programs on the server or call others."""
NO_GATEWAY = "/ajax-api/2.0/mlflow/gateway-proxy"
"""What MLflow's page asks for the list of a gateway's endpoints. It gets an empty one, as from an MLflow without one:
it shows every refusal to its users."""
READING = ("GET", "HEAD", "OPTIONS")
FOREIGN_SITES = ("cross-site", "same-site")
"""What a browser says of a request that a page of another server makes."""


class Door:
    """ASGI middleware around MLflow's application.

    Args:
        app: MLflow's application.
        secret: What every request has to show as ``Authorization: Bearer SECRET``; empty if none is demanded.
    """

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app, self._secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request, or answer it with a refusal. Web sockets, which MLflow does not use, are closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        path, headers = str(scope["path"]), Headers(scope=scope)
        if path in OPEN:
            return None
        if self._secret and not self._shows_secret(headers):
            return _refused(HTTPStatus.UNAUTHORIZED, "this MLflow is reached through the service, under /mlflow/")
        if path == NO_GATEWAY and scope["method"] in READING:
            return JSONResponse({"endpoints": []})
        if any(path == root or path.startswith(f"{root}/") for root in NOT_SERVED):
            return _refused(HTTPStatus.NOT_FOUND, f"{path} is not offered by this MLflow")
        if scope["method"] not in READING and _is_foreign(headers):
            return _refused(HTTPStatus.FORBIDDEN, "a page of another site may not change anything here")
        return None

    def _shows_secret(self, headers: Headers) -> bool:
        kind, _, shown = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._secret.encode())


def _is_foreign(headers: Headers) -> bool:
    """Return whether a browser says that a page of another server makes the request. Other programs say nothing."""
    origin = headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    return elsewhere or headers.get("sec-fetch-site") in FOREIGN_SITES


def _refused(status: HTTPStatus, message: str) -> JSONResponse:
    """Return an answer in the form that MLflow's client reads."""
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
    return JSONResponse({"error_code": status.name, "message": message}, status, headers)
