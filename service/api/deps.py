"""What handlers share: settings and the database, made by ``create_app``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from service.settings import ApiSettings
from service.store.database import Database


@dataclass(frozen=True)
class Context:
    settings: ApiSettings
    database: Database


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
