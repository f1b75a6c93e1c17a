"""``/v1/sweeps/{id}/curves``: one metric of several trials over their training, in one answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service import schemas
from service.api import presenters
from service.api.answers import answer
from service.api.deps import Ctx, SweepId
from service.api.strict_query import Known
from service.store import reports, sweep_record, sweeps, trials

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], dependencies=[Known])

MAX_CURVES = 200
"""The most trials whose curves one answer has."""


class CurveQuery(BaseModel):
    """The query parameters of curves."""

    model_config = ConfigDict(extra="forbid")
    metric: str | None = Field(None, max_length=80, description="The metric; the sweep's objective by default.")
    trials: list[Annotated[int, Field(ge=0, le=999_999)]] = Field(
        default=[], max_length=MAX_CURVES, description="The numbers of the trials; by default the best ones."
    )
    best: int = Field(12, ge=1, le=MAX_CURVES, description="How many of the best trials, if ``trials`` is not given.")
    points: int = Field(200, ge=2, le=2000, description="About the most points of each curve.")


@router.get("/{sweep_id}/curves", response_model=schemas.SweepCurves)
def get_curves(sweep_id: SweepId, context: Ctx, query: Annotated[CurveQuery, Query()]) -> Response:
    """Return one metric of several trials over their training, each with about ``points`` points.

    Numbers that the sweep has no trial of are ignored. A curve has its first and its last report, and evenly spaced
    ones between them.
    """
    with context.database.read() as session:
        row = sweeps.get(session, sweep_id)
        wanted = dict.fromkeys(query.trials)
        if not wanted:
            best = trials.ranked(session, sweep_id, presenters.direction(row), limit=query.best)
            wanted = dict.fromkeys(trial.number for trial in best)
        numbers = {trials.id_of(sweep_id, number): number for number in wanted}
        metric = query.metric or row.metric
        found = dict(sweep_record.thinned_curves(session, numbers, metric, query.points))
        names = reports.metric_names(session, next(iter(numbers))) if numbers else []
    curves = [{"number": number, "points": found[number]} for number in wanted if number in found]
    return answer({"sweep_id": sweep_id, "metric": metric, "metrics": names, "curves": curves})
