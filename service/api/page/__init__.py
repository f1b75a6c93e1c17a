"""The web page and the documentation page: static files that load nothing from other servers."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent
POLICY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}

KINDS = (".css", ".js", ".svg", ".txt")
"""The endings of the files of the pages. The pages themselves have routes, which set their policy."""
VERSIONED = "vendor"
"""The folder of the libraries, whose names have their versions: what is stored under such a name never changes."""

router = APIRouter(include_in_schema=False)


class PageFiles(StaticFiles):
    """Serves the scripts and styles of the pages and nothing else that lies in their folder, such as this module."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return where a file is, and what is known of it; ``"", None`` if it is none of the pages'."""
        return super().lookup_path(path) if path.endswith(KINDS) else ("", None)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file. A browser keeps libraries for a year, and asks every time whether other files have changed."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        kept = Path(full_path).parent == FOLDER / VERSIONED
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return answer


@router.get("/")
def index() -> FileResponse:
    """Return the page that shows sweeps, their progress and their results."""
    return FileResponse(FOLDER / "index.html", headers=POLICY)


@router.get("/docs")
def docs() -> FileResponse:
    """Return the page that documents the API; it is drawn from ``/openapi.json``."""
    return FileResponse(FOLDER / "docs.html", headers=POLICY)
