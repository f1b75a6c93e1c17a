"""Answers that are written as JSON once.

A handler that returns a model lets FastAPI check it and write it again. These answers are bytes already; the
route still names its model, for the OpenAPI schema.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response with a document of plain values, or with models among them."""
    return Response(to_json(document, inf_nan_mode="null"), status, headers, "application/json")
