"""/v1/sweeps: posting, listing, looking at and steering sweeps."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.api import cursors, dry_run, presenters, report, schemas
from service.api.deps import Ctx
from service.api.json_body import Posted
from service.api.strict_query import Known
from service.api.submission import Key, submit
from service.states import SweepState, SweepVerb, TrialState
from service.store import components, sweeps, trials
from service.store.tables import Sweep, Trial
from workers.spec.expand import objective
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"], dependencies=[Known])
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SweepSpec"}}}}}  # noqa: E501  # fmt: skip


class Listing(BaseModel):
    """Which sweeps, the newest first."""

    model_config = ConfigDict(extra="forbid")
    state: list[SweepState] = Field(default=[], description="only those in one of these states")
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=400, description="next_cursor of the page before")


class TrialListing(BaseModel):
    """Which trials; by objective the best comes first and those without one last."""

    model_config = ConfigDict(extra="forbid")
    state: list[TrialState] = Field(default=[], description="only those in one of these states")
    sort: Literal["number", "objective"] = "number"
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, max_length=400, description="next_cursor of the page before")


@router.post("", status_code=202, openapi_extra=BODY)
def post_sweep(document: Posted, context: Ctx, response: Response, key: Key = None) -> schemas.SweepView:
    """Queue a sweep. With an Idempotency-Key a repeated request gives the same sweep."""
    spec = parse_sweep(document.content, context.settings.data_dir)
    row = submit(context.database, spec, document.hash, key)
    response.headers["Location"] = f"/v1/sweeps/{row.id}"
    with context.database.read() as session:
        return presenters.sweep(session, row, context.settings)


@router.post("/validate", openapi_extra=BODY)
def validate_sweep(document: Posted, context: Ctx) -> schemas.DryRun:
    """What the sweep would do, without storing anything; without a database nothing is said of the cluster."""
    spec = parse_sweep(document.content, context.settings.data_dir)
    try:
        with context.database.read() as session:
            nodes = components.nodes(session)
    except SQLAlchemyError:
        nodes = []
    return schemas.DryRun(**dry_run.plan(spec, nodes))


@router.get("")
def list_sweeps(context: Ctx, query: Annotated[Listing, Query()]) -> schemas.SweepPage:
    """Sweeps, the newest first."""
    before = cursors.decode(query.cursor, (int, float), str) if query.cursor else None
    with context.database.read() as session:
        rows = sweeps.page(session, query.state, query.limit, before)
        last = rows[-1] if len(rows) == query.limit else None
        return schemas.SweepPage(
            sweeps=presenters.sweep_list(session, rows),
            next_cursor=cursors.encode(last.created_at, last.id) if last else None,
        )


@router.get("/{sweep_id}")
def get_sweep(sweep_id: str, context: Ctx) -> schemas.SweepView:
    """A sweep with its trials counted, its progress and its best trial."""
    with context.database.read() as session:
        return presenters.sweep(session, sweeps.get(session, sweep_id), context.settings)


@router.get("/{sweep_id}/trials")
def list_trials(sweep_id: str, context: Ctx, query: Annotated[TrialListing, Query()]) -> schemas.TrialPage:
    """The sweep's trials, by number or by objective."""
    with context.database.read() as session:
        row = sweeps.get(session, sweep_id)
        rows, place = (
            _by_objective(session, row, query) if query.sort == "objective" else _by_number(session, row, query)
        )
    more = place if len(rows) == query.limit else None
    return schemas.TrialPage(trials=[presenters.trial(r) for r in rows], next_cursor=more)


def _by_number(session: Session, sweep: Sweep, query: TrialListing) -> tuple[list[Trial], str | None]:
    after = cursors.decode(query.cursor, int)[0] if query.cursor else -1
    rows = trials.page(session, sweep.id, query.state, query.limit, after)
    return rows, cursors.encode(rows[-1].number) if rows else None


def _by_objective(session: Session, sweep: Sweep, query: TrialListing) -> tuple[list[Trial], str | None]:
    after = cursors.decode(query.cursor, (int, float, type(None)), int) if query.cursor else None
    direction = objective(SweepSpec.model_validate(sweep.spec)).direction
    rows = trials.ranked(session, sweep.id, direction, query.state, query.limit, after)
    return rows, cursors.encode(rows[-1].objective, rows[-1].number) if rows else None


@router.get("/{sweep_id}/report")
def get_report(sweep_id: str, context: Ctx) -> schemas.SweepReport:
    """Leaderboard, and the objective over reflectors and margin."""
    with context.database.read() as session:
        return report.of(session, sweeps.get(session, sweep_id))


@router.post("/{sweep_id}/{verb}", status_code=202)
def steer(sweep_id: str, verb: SweepVerb, context: Ctx) -> schemas.SweepView:
    """pause, resume, stop (running trials finish) or cancel (they end now). Repeating a verb is no error."""
    with context.database.write() as session:
        row = sweeps.apply(session, sweep_id, verb)
    with context.database.read() as session:
        return presenters.sweep(session, row, context.settings)
