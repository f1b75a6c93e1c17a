"""The dependencies of the handlers: the settings and the database, both made by ``create_app``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path
from starlette.requests import Request

from service.settings import ApiSettings
from service.store.database import Database


@dataclass(frozen=True)
class Context:
    """What every handler may use."""

    settings: ApiSettings
    database: Database


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
"""The context, as a parameter of a handler."""

SweepId = Annotated[str, Path(description="The sweep's id.")]
TrialId = Annotated[str, Path(description="The trial's id: its sweep's id, a hyphen and its number.")]
