"""``/v1/trials/ID/logs``: the history of a trial, and what its workers have printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service import schemas
from service.api.deps import Ctx, TrialId
from service.api.strict_query import Known
from service.schemas.times import rfc3339
from service.store import attempts, events, pack_lines, trials
from service.store.database import Database
from service.store.pack_lines import LinePlace
from service.store.tables import PackLine

router = APIRouter(prefix="/v1/trials", tags=["trials"], dependencies=[Known])

LINES = 1_000
"""How many lines are answered unless the call says otherwise, and are read at a time for an answer in plain text."""
MOST_LINES = 2_000


@router.get(
    "/{trial_id}/logs",
    response_model=schemas.Logs,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_logs(
    trial_id: TrialId,
    context: Ctx,
    request: Request,
    only: Annotated[
        Literal["history", "output"] | None,
        Query(description="Return only the attempts and events, or only the lines. The other lists are then empty."),
    ] = None,
    after: Annotated[
        str,
        Query(
            pattern=r"^[0-9]{1,9}-[0-9]{1,9}$",
            description="Return only the lines behind this one: the `id` of a line.",
        ),
    ] = "0-0",
    limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="How many lines to return at most.")] = LINES,
    events_after: Annotated[
        int, Query(ge=0, le=2**31 - 1, description="Return only the events with numbers `seq` above this one.")
    ] = 0,
    format: Annotated[
        Literal["json", "text"] | None,
        Query(
            description="`text` returns all lines behind `after` as plain text, each with its time, and nothing else; "
            "so does the header `Accept: text/plain`."
        ),
    ] = None,
) -> Response | schemas.Logs:
    """Return the trial's history, which are its attempts, why each of them ended, and its events, and its output.

    The output is what its workers have printed: standard output and error, warnings, log records and tracebacks. It is
    there a second or two after it was printed, and stays until the sweep is deleted. Of each pack about 256 KiB are
    kept, the first half and the last half, with a line that says how many were left out.
    """
    accept = request.headers.get("accept", "")
    as_text = format == "text" or (format is None and "text/plain" in accept and "json" not in accept)
    place = LinePlace(*map(int, after.split("-")))
    with context.database.read() as session:
        row = trials.get(session, trial_id)  # first: once it has ended, the lines that follow are all there are
        if as_text:
            return StreamingResponse(_text(context.database, trial_id, place), media_type="text/plain")
        history = only != "output"
        tries = attempts.of_trial(session, trial_id) if history else []
        happened = events.of_trial(session, row.sweep_id, trial_id, events_after) if history else []
        lines = pack_lines.of_trial(session, trial_id, place, limit + 1) if only != "history" else []
    return schemas.Logs(
        trial_id=trial_id,
        state=row.state,
        reason=row.reason,
        attempts=[schemas.AttemptView.model_validate(a, from_attributes=True) for a in tries],
        events=[schemas.EventView.model_validate(e, from_attributes=True) for e in happened],
        lines=[_shown(at, line) for at, line in lines[:limit]],
        more_lines=len(lines) > limit,
    )


def _shown(place: LinePlace, line: PackLine) -> schemas.LogLine:
    return schemas.LogLine(
        id=f"{place.attempt}-{place.seq}",
        at=line.at,
        attempt=place.attempt,
        stream=line.stream,
        level=line.level,
        text=line.text,
    )


def _text(database: Database, trial_id: str, place: LinePlace) -> Iterator[str]:
    """Yield all lines behind a place as text, read piece by piece."""
    while True:
        with database.read() as session:
            lines = pack_lines.of_trial(session, trial_id, place, LINES)
        yield "".join(f"{rfc3339(line.at)} {line.level or line.stream} {line.text}\n" for _, line in lines)
        if len(lines) < LINES:
            return
        place = lines[-1][0]
