"""``/v1/best-so-far``: how the best objective of several sweeps got better, for small pictures in a list."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from service import schemas
from service.api.answers import answer
from service.api.deps import Ctx, Who
from service.api.strict_query import Known
from service.store import improvements

router = APIRouter(prefix="/v1", tags=["sweeps"], dependencies=[Known])

MAX_SWEEPS = 200
"""The most sweeps that one answer has."""


class BestSoFarQuery(BaseModel):
    """The query parameters."""

    model_config = ConfigDict(extra="forbid")
    sweeps: list[Annotated[str, Field(pattern="^sw[0-9a-f]{10}$")]] = Field(
        default=[], max_length=MAX_SWEEPS, description="The id of a sweep; may be repeated."
    )


@router.get("/best-so-far", response_model=schemas.BestSoFarPage)
def get_best_so_far(context: Ctx, who: Who, query: Annotated[BestSoFarQuery, Query()]) -> Response:
    """Return for each of some sweeps how its best objective got better with its trials, in at most 24 points.

    Of a sweep with ``repeats`` it is the objective of its points. Sweeps that are not there, or that belong to others,
    are left out.
    """
    wanted = list(dict.fromkeys(query.sweeps))
    with context.database.read() as session:
        found = improvements.of_sweeps(session, wanted, who.sees)
    return answer({"sweeps": [{"id": id, "points": found[id]} for id in wanted if id in found]})
