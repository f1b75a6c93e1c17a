"""``/v1/sweeps``: submit, list, inspect and control sweeps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service import schemas
from service.api import cursors, estimating, presenters, sweep_data
from service.api.answers import answer
from service.api.data_reading import one_reader, read_sweep
from service.api.deps import Ctx, SweepId, Who
from service.api.json_body import Posted
from service.api.problems import Refused
from service.api.strict_query import Known
from service.api.submission import OneKey, find_by_key, submit
from service.api.warm_starts import warm_started
from service.states import SweepState, SweepVerb, TrialState
from service.store import sweeps, trial_order, trials
from service.store.tables import Sweep, Trial
from workers.spec.change import SweepChange, parse_change
from workers.spec.tags import MAX_TAGS, TAG_LENGTH

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], dependencies=[Known])
_SWEEP_SCHEMA = {"schema": {"$ref": "#/components/schemas/SweepSpec"}}
BODY = {"requestBody": {"required": True, "content": {"application/json": _SWEEP_SCHEMA}}}
"""What the OpenAPI schema says about the body of a call that takes a sweep document."""
CHANGE_BODY = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": SweepChange.model_json_schema()}}}
}
CHANGE_BODY["requestBody"]["content"]["application/json"]["schema"] |= {"minProperties": 1}  # type: ignore[index]
PROBLEM: dict[str, Any] = {"model": schemas.Problem, "description": "A problem document"}


class Listing(BaseModel):
    """The query parameters of the list of sweeps."""

    model_config = ConfigDict(extra="forbid")
    state: list[SweepState] = Field(default=[], description="Only those in one of these states; all by default.")
    tag: list[Annotated[str, Field(min_length=1, max_length=TAG_LENGTH)]] = Field(
        default=[], max_length=MAX_TAGS, description="Only those that have this tag; of several, all of them."
    )
    archived: Literal["false", "true", "any"] = Field(
        "false", description="Those that are not archived, those that are, or both."
    )
    limit: int = Field(50, ge=1, le=200, description="The largest number of sweeps to return.")
    cursor: str | None = Field(None, max_length=400, description="``next_cursor`` of the page before.")


class DryRunOptions(BaseModel):
    """The query parameters of a dry run."""

    model_config = ConfigDict(extra="forbid")
    calibrate: bool = Field(False, description="Measure what a step takes, where no earlier run says it.")


class TrialListing(BaseModel):
    """The query parameters of the list of trials."""

    model_config = ConfigDict(extra="forbid")
    state: list[TrialState] = Field(default=[], description="Only those in one of these states; all by default.")
    sort: Literal["number", "objective"] = Field(
        "number", description="By number, or by objective: the best first, trials without a result last."
    )
    limit: int = Field(100, ge=1, le=1000, description="The largest number of trials to return.")
    cursor: str | None = Field(None, max_length=400, description="``next_cursor`` of the page before.")


@router.post("", status_code=202, openapi_extra=BODY, response_model=schemas.SweepView)
def post_sweep(document: Posted, context: Ctx, who: Who, key: OneKey) -> Response:
    """Submit a sweep, and return it without waiting for its trials.

    The same body with the same Idempotency-Key again returns the existing sweep; another body is refused with 409.
    Without the header, every request submits a new sweep. A sweep whose checkpoints do not fit into the checkpoint
    store is refused with 507.
    """
    row, is_new = find_by_key(context.database, document, key, who.owner), False
    if row is None:
        spec = warm_started(context.database, read_sweep(document.content, context.settings), who)
        row, is_new = submit(context.database, spec, document, key, who.owner)
    with context.database.read() as session:
        shown = presenters.new_sweep(session, row) if is_new else presenters.sweep(session, row, context.settings)
    return answer(shown, 202, {"Location": f"/v1/sweeps/{row.id}"})


@router.post("/validate", openapi_extra=BODY)
def validate_sweep(
    document: Posted, context: Ctx, who: Who, query: Annotated[DryRunOptions, Query()]
) -> schemas.DryRun:
    """Check a sweep, and return its trials, packs and warnings, and how long it will take. The sweep is not stored.

    How long a step takes is known from earlier sweeps. With ``calibrate`` it is measured, in some seconds, by training
    packs whose like have not been trained yet for a moment, if the server may do that.

    While the database or Ray does not answer, what is known of the cluster, the checkpoint store and earlier sweeps is
    left out.
    """
    spec = warm_started(context.database, read_sweep(document.content, context.settings), who)
    return estimating.dry_run_of(spec, context, calibrate=query.calibrate)


@router.get("", response_model=schemas.SweepPage)
def list_sweeps(context: Ctx, who: Who, query: Annotated[Listing, Query()]) -> Response:
    """Return one page of the list of sweeps, newest first. Sweeps that are archived are left out by default."""
    archived = {"false": False, "true": True, "any": None}[query.archived]
    before = cursors.decode(query.cursor, (int, float), str) if query.cursor else None
    with context.database.read() as session:
        rows = sweeps.page(session, query.state, query.limit, before, who.sees, archived=archived, having=query.tag)
        last = rows[-1] if len(rows) == query.limit else None
        shown = presenters.sweep_list(session, rows)
    return answer({"sweeps": shown, "next_cursor": cursors.encode(last.created_at, last.id) if last else None})


@router.get("/{sweep_id}", response_model=schemas.SweepView)
def get_sweep(sweep_id: SweepId, context: Ctx) -> Response:
    """Return a sweep with its number of trials in each state, its progress and its best trial."""
    with context.database.read() as session:
        shown = presenters.sweep(session, sweeps.get(session, sweep_id), context.settings)
    return answer(shown)


@router.get("/{sweep_id}/trials", response_model=schemas.TrialPage)
def list_trials(sweep_id: SweepId, context: Ctx, query: Annotated[TrialListing, Query()]) -> Response:
    """Return one page of the sweep's trials that have been created, by number or by objective."""
    with context.database.read() as session:
        row = sweeps.get(session, sweep_id)
        rows, place = (
            _by_objective(session, row, query) if query.sort == "objective" else _by_number(session, row, query)
        )
        shown = presenters.trials_of(session, row, rows)
    return answer({"trials": shown, "next_cursor": place if len(rows) == query.limit else None})


def _by_number(session: Session, sweep: Sweep, query: TrialListing) -> tuple[list[Trial], str | None]:
    after = cursors.decode(query.cursor, int)[0] if query.cursor else -1
    rows = trials.page(session, sweep.id, query.state, query.limit, after)
    return rows, cursors.encode(rows[-1].number) if rows else None


def _by_objective(session: Session, sweep: Sweep, query: TrialListing) -> tuple[list[Trial], str | None]:
    after = cursors.decode(query.cursor, (int, float, type(None)), int) if query.cursor else None
    rows = trials.ranked(session, sweep.id, presenters.direction(sweep), query.state, query.limit, after)
    return rows, cursors.encode(*trial_order.position(rows[-1])) if rows else None


@router.get("/{sweep_id}/data")
def get_data(sweep_id: SweepId, context: Ctx) -> schemas.SweepData:
    """Return what the sweep's trials read: series, features, classes, sets, the first steps, and warnings.

    The files are read for this call; if the server cannot read any of them, the answer is 404 and says why.
    """
    with context.database.read() as session:
        spec = presenters.spec_of(sweeps.get(session, sweep_id))
    if spec is None:
        detail = f"sweep {sweep_id} was stored by an earlier release, and this one cannot read what its trials learn"
        raise Refused(404, "Data not readable", detail)
    with one_reader():
        return sweep_data.summaries_of(sweep_id, spec, context.settings.data_dir)


@router.patch("/{sweep_id}", status_code=202, openapi_extra=CHANGE_BODY, response_model=schemas.SweepView)
def change_sweep(sweep_id: SweepId, document: Posted, context: Ctx) -> Response:
    """Change a sweep: its ``tags``, whether it is ``archived``, and its place in the queue. What is left out stays.

    ``tags`` replaces all tags that it has; ``add_tags`` and ``remove_tags`` change some of them, whatever others change
    at the same time. Only a sweep that has ended is archived: lists leave it out, and it keeps everything; one that
    goes on is archived no more. While it has not ended, ``priority`` can be changed, and ``max_parallel``, the trials
    that run at the same time; null lifts it. Trials that run go on, also if they are more than may run from now on. A
    higher priority may take the place of packs of lower ones, which pause at a checkpoint.
    The status is 403 if the owner's sweeps may not have so high a priority, and 409 if the sweep's state does not
    permit the change.
    """
    changes = parse_change(document.content)
    with context.database.write() as session:
        row = sweeps.change(session, sweep_id, changes)
    with context.database.read() as session:
        shown = presenters.sweep(session, row, context.settings)
    return answer(shown, 202)


@router.post("/{sweep_id}/{verb}", status_code=202, response_model=schemas.SweepView)
def steer(
    sweep_id: SweepId, verb: Annotated[SweepVerb, Path(description="What to do with the sweep.")], context: Ctx
) -> Response:
    """Pause, resume, stop or cancel a sweep.

    After ``pause`` running trials write a checkpoint and wait; ``resume`` continues them from there. After ``stop``
    running trials finish and no others start. ``cancel`` ends all trials without a new checkpoint. A verb that has had
    its effect changes nothing; one that the sweep's state does not permit is refused with 409.
    """
    with context.database.write() as session:
        row = sweeps.apply(session, sweep_id, verb)
    with context.database.read() as session:
        shown = presenters.sweep(session, row, context.settings)
    return answer(shown, 202)
