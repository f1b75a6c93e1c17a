"""Which requests are open to everyone, and which scope the others need. A route that is not named here is closed."""

from __future__ import annotations

import re
from typing import Any

from service.access.credentials import COOKIE
from service.access.scopes import TokenScope

OPEN = frozenset(
    {
        ("GET", "/health/live"),
        ("GET", "/health/ready"),  # without messages and details, unless the request is admitted
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),  # the same for every installation
        ("POST", "/v1/session"),  # shows a token in its body
        ("DELETE", "/v1/session"),  # also for a session that has ended
    }
)
"""The routes that are open to everyone, by method and path."""
OPEN_FOLDERS = ("/page/", "/manual/")
"""The static files of the page and of the manual, which are the same for every installation, are open, too."""
MORE_WHEN_ADMITTED = "/health/ready"
"""The open route that looks at what the request shows; the others do not need the database."""

READING = frozenset({"GET", "HEAD"})
CHANGES_NOTHING = frozenset({"/v1/sweeps/validate"})
"""Paths whose other methods change nothing either, and are not in the audit log."""
ADMIN = ("/v1/audit", "/mlflow")
"""What is below these paths needs the scope admin: it shows or changes what belongs to others."""
_OWNED = re.compile(r"/v1/(sweeps|trials)/(sw[0-9a-f]{10})(-[0-9]+)?(?:/.*)?", re.DOTALL)


def scope_needed(method: str, path: str) -> TokenScope | None:
    """Return which scope a request needs; None if it is open to everyone."""
    reads = method in READING
    if ("GET" if reads else method, path) in OPEN or (reads and f"{path}/".startswith(OPEN_FOLDERS)):
        return None
    if any(path == root or path.startswith(f"{root}/") for root in ADMIN):
        return "admin"
    return "read" if reads else "submit"


def changes_something(method: str, path: str) -> bool:
    """Return whether a request may change something. MLflow's page searches by POST, many times a minute."""
    searches = path.startswith("/mlflow/") and path.endswith("/search")
    return method not in READING and method != "OPTIONS" and path not in CHANGES_NOTHING and not searches


def describe(schema: dict[str, Any]) -> None:
    """Add to an OpenAPI schema, in place, how its calls are admitted."""
    schema["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of spectral token create."},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /v1/session."},
    }
    for path, calls in schema["paths"].items():
        for method, operation in calls.items():
            is_open = scope_needed(method.upper(), path) is None
            operation["security"] = [] if is_open else [{"token": []}, {"session": []}]


def subject_of(path: str) -> tuple[str, str, str] | None:
    """Return what a path is about: ``sweep`` or ``trial``, its id, and the id of the sweep; None if neither."""
    match = _OWNED.fullmatch(path)
    if match is None:
        return None
    return match[1].removesuffix("s"), match[2] + (match[3] or ""), match[2]
