"""The web page and the documentation page: static files that load nothing from other servers."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent
POLICY = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}

SERVED = (".js", ".css")


class PageFiles(StaticFiles):
    """The scripts and styles of the folder; its other files do not exist for a browser."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return the full path and the status of a file to serve; an empty path and None if there is none."""
        return super().lookup_path(path) if path.endswith(SERVED) else ("", None)


router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> FileResponse:
    """Return the page that shows sweeps, their progress and their results."""
    return FileResponse(FOLDER / "index.html", headers=POLICY)


@router.get("/docs")
def docs() -> FileResponse:
    """Return the page that documents the API; it is drawn from ``/openapi.json``."""
    return FileResponse(FOLDER / "docs.html", headers=POLICY)
