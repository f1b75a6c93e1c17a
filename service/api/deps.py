"""The parameters that handlers share: the application's settings and database, and ids in the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path
from starlette.requests import Request

from service.api.event_watch import EventWatch
from service.settings import ApiSettings
from service.store.database import Database


@dataclass(frozen=True)
class Context:
    """The settings and the database of the application, and its watch on events, which every handler may use."""

    settings: ApiSettings
    database: Database
    watch: EventWatch


async def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
"""The type of a handler's parameter that takes the application's ``Context``."""

SweepId = Annotated[str, Path(description="The sweep's id.")]
TrialId = Annotated[str, Path(description="The trial's id: its sweep's id, a hyphen and its number.")]
