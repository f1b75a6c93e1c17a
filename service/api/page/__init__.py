"""The web page and the documentation page: static files that load nothing from other servers."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

FOLDER = Path(__file__).parent
POLICY = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> FileResponse:
    """Return the page that shows sweeps, their progress and their results."""
    return FileResponse(FOLDER / "index.html", headers=POLICY)


@router.get("/docs")
def docs() -> FileResponse:
    """Return the page that documents the API; it is drawn from ``/openapi.json``."""
    return FileResponse(FOLDER / "docs.html", headers=POLICY)
