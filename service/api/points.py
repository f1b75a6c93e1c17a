"""The points of a sweep: its settings, each with the results of all of its repeats, ranked and compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service import schemas
from service.api import cursors
from service.api.answers import answer
from service.api.deps import Ctx, SweepId
from service.api.problems import Refused
from service.api.strict_query import Known
from service.store import points, sweeps, trials
from service.store.errors import NotFound
from service.store.tables import Sweep
from workers.errors import FieldError
from workers.spec.point_results import CONFIDENCE, PointResult, compared, ranked_points
from workers.spec.repeats import SEED_PATH, without_seed

router = APIRouter(prefix="/v1/sweeps", tags=["points"], dependencies=[Known])

MOST_COMPARED = 20
"""The most points that are compared at once."""
_NUMBERS = re.compile(r"[0-9]{1,6}(,[0-9]{1,6})*")


class PointListing(BaseModel):
    """The query parameters of the list of points."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(50, ge=1, le=200, description="The largest number of points to return.")
    cursor: str | None = Field(None, max_length=400, description="``next_cursor`` of the page before.")


@router.get("/{sweep_id}/points", response_model=schemas.PointPage)
def list_points(sweep_id: SweepId, context: Ctx, query: Annotated[PointListing, Query()]) -> Response:
    """Return one page of the sweep's points, the best first, each with the spread of its repeats.

    Without ``repeats`` each trial is a point of its own.
    """
    with context.database.read() as session:
        row = sweeps.get(session, sweep_id)
        found = ranked_points(points.of_sweep(session, row), points.direction_of(row))
        if query.cursor:
            (after,) = cursors.decode(query.cursor, int)
            place = next((at for at, point in enumerate(found) if point.number == after), len(found))
            found = found[place + 1 :]
        shown = views(session, row, found[: query.limit])
    more = cursors.encode(shown[-1]["number"]) if len(shown) == query.limit else None
    statistic = row.spec.get("objective", {}).get("statistic", "mean")
    return answer({"objective": _objective(row), "statistic": statistic, "points": shown, "next_cursor": more})


@router.get("/{sweep_id}/compare", response_model=schemas.PointComparison)
def compare_points(
    sweep_id: SweepId,
    context: Ctx,
    numbers: Annotated[
        str,
        Query(
            alias="points",
            max_length=200,
            description=f"The numbers of 2 to {MOST_COMPARED} points with commas between, such as 3,7; required.",
        ),
    ] = "",
) -> Response:
    """Compare points of the sweep with each other, by their trials of equal seeds.

    The verdict on two points is "not told apart" if the interval of the mean difference holds 0, if there are fewer
    than two seeds at which both have a result, or if one of them has no result. Without ``repeats`` no two points are
    told apart.
    """
    with context.database.read() as session:
        row = sweeps.get(session, sweep_id)
        wanted = _numbers(numbers)
        every = {point.number: point for point in points.of_sweep(session, row)}
        for number in wanted:
            if number not in every:
                raise NotFound("point", f"{number} of {sweep_id}")
        found = [every[number] for number in wanted]
        shown = views(session, row, found)
    comparisons = [
        {
            "first": pair.first,
            "second": pair.second,
            "verdict": pair.verdict,
            "n": pair.differences.n,
            "difference": pair.differences.mean,
            "sd": pair.differences.sd,
            "interval": pair.differences.interval,
            "reason": pair.reason,
        }
        for pair in compared(found, points.direction_of(row))
    ]
    return answer({"objective": _objective(row), "confidence": CONFIDENCE, "points": shown, "comparisons": comparisons})


def views(session: Session, row: Sweep, found: Sequence[PointResult]) -> list[dict[str, Any]]:
    """Return a ``PointView`` for each point, in the same order."""
    firsts = trials.of_numbers(session, row.id, [point.repeats[0].number for point in found])
    repeats, given = points.repeats_of(row.spec), row.spec.get("training", {}).get("seed", 0)
    shown = []
    for point in found:
        params = firsts[point.repeats[0].number].params
        best = point.best_repeat(points.direction_of(row))
        # the seeds of a point follow each other; without repeats the seed may be searched
        seed = int(params.get(SEED_PATH, given))
        shown.append(
            {
                "number": point.number,
                "params": without_seed(params, repeats),
                "objective": point.objective,
                **point.summary._asdict(),
                "reason": point.missing,
                "best_trial": trials.id_of(row.id, best.number) if best else None,
                "repeats": [
                    {
                        "trial_id": trials.id_of(row.id, repeat.number),
                        "number": repeat.number,
                        "seed": seed + place,
                        "state": repeat.state,
                        "objective": repeat.objective,
                    }
                    for place, repeat in enumerate(point.repeats)
                ],
            }
        )
    return shown


def leaders(session: Session, row: Sweep, most: int) -> list[dict[str, Any]]:
    """Return a ``PointView`` for each of the best points that have a result, the best first; none without repeats."""
    if points.repeats_of(row.spec) == 1:
        return []
    ranked = ranked_points(points.of_sweep(session, row), points.direction_of(row))
    return views(session, row, [point for point in ranked[:most] if point.objective is not None])


def _objective(row: Sweep) -> dict[str, str]:
    return {"metric": row.metric, "direction": row.direction}


def _numbers(text: str) -> list[int]:
    """Return the numbers of points in a query; refuse what is no list of different ones."""
    found = [int(number) for number in text.split(",")] if _NUMBERS.fullmatch(text) else []
    if not 2 <= len(found) <= MOST_COMPARED or len(set(found)) < len(found):
        allowed = f"2 to {MOST_COMPARED} different numbers of points with commas between, such as 3,7"
        error = FieldError("points", text[:100], "does not say which points to compare", allowed)
        raise Refused(422, "Invalid request", str(error), [error])
    return found
