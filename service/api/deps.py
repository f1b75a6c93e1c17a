"""The parameters that handlers share: the application's settings and database, who asks, and ids in the path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, cast

from fastapi import Depends, Path
from starlette.requests import Request

from service.access.principal import Principal, principal_of
from service.api.event_watch import EventWatch
from service.api.sightings import Sightings
from service.settings import ApiSettings
from service.store.database import Database
from service.store.write_probe import WriteProbe


@dataclass(frozen=True)
class Context:
    """The settings and the database of the application, and its watch on events, which every handler may use."""

    settings: ApiSettings
    database: Database
    watch: EventWatch

    @cached_property
    def write_probe(self) -> WriteProbe:
        """The probe that says whether the database takes writes."""
        return WriteProbe(self.database)

    @cached_property
    def sightings(self) -> Sightings:
        """When the parts of the system were last seen by this process."""
        return Sightings()


async def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(_context)]
"""The type of a handler's parameter that takes the application's ``Context``."""


def _signed_in(request: Request) -> Principal:
    found = principal_of(request.scope)
    assert found is not None, "the gate lets nobody without a token through to this call"
    return found


Who = Annotated[Principal, Depends(_signed_in)]
"""The type of a handler's parameter that takes who makes the request."""

SweepId = Annotated[str, Path(description="The sweep's id.")]
TrialId = Annotated[str, Path(description="The trial's id: its sweep's id, a hyphen and its number.")]
