"""Unknown query parameters are refused, so that a misspelt one is never silently ignored."""

from __future__ import annotations

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request

from service.api.problems import Refused
from workers.errors import FieldError


async def _known(request: Request) -> None:
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    names = sorted(_names(route.dependant))
    allowed = f"one of {', '.join(names)}" if names else "no parameter"
    errors = [
        FieldError(name[:200], value[:200], "is not a parameter of this call", allowed)
        for name, value in list(request.query_params.items())[:20]
        if name not in names
    ]
    if errors:
        raise Refused(422, "Invalid request", "; ".join(str(error) for error in errors), errors)


def _names(dependant: Dependant) -> set[str]:
    """Return the names of the query parameters that a handler and its dependencies take.

    A parameter whose type is a pydantic model stands for the model's fields.
    """
    found = {name for part in dependant.dependencies for name in _names(part)}
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= set(kind.model_fields)
        else:
            found.add(field.alias)
    return found


Known = Depends(_known)
"""A dependency of a router. Its calls answer a query parameter that they do not have with status 422."""
