"""What can be done with a sweep that has ended: run its failed trials again, extend it, delete it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import schemas, states
from service.api import presenters
from service.api.answers import answer
from service.api.data_reading import read_sweep
from service.api.deps import Context, Ctx, SweepId, TrialId, Who
from service.api.json_body import JsonBody, Posted
from service.api.problems import Refused
from service.api.storage_check import refuse_without_space
from service.api.strict_query import Known
from service.api.submission import OneKey, stored
from service.store import idempotency, removals, reopening, sweeps, trials
from service.store.sweep_summary import facts_of
from service.store.tables import Sweep
from workers.errors import SpecError
from workers.spec.checkpoint_size import sweep_bytes
from workers.spec.expand import trial_count
from workers.spec.extension import Extension, extended_document, in_extension, new_points, parse_extension
from workers.spec.samplers import SAMPLERS
from workers.spec.search_space import MAX_TRIALS
from workers.spec.sweep import SweepSpec

router = APIRouter(prefix="/v1", tags=["after the end"], dependencies=[Known])
_SCALAR = {"type": ["boolean", "number", "string"]}
_EXTENSION = {
    "type": "object",
    "description": "Either the number of further trials, with repeats of points, or new values by the path of the "
    "grid's dimension.",
    "properties": {
        "trials": {"type": "integer", "minimum": 1, "maximum": MAX_TRIALS},
        "space": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "array", "minItems": 1, "items": _SCALAR},
        },
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "examples": [{"trials": 8}, {"space": {"model.margin": [0.3, 0.5]}}],
}
EXTENSION_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _EXTENSION}}}}


@router.post("/sweeps/{sweep_id}/rerun", status_code=202, response_model=schemas.SweepView)
def rerun_sweep(sweep_id: SweepId, context: Ctx, who: Who, key: OneKey) -> Response:
    """Run the failed trials of a sweep again, and no others; a sweep that has ended is running again until they end.

    Each goes on from its newest checkpoint, if it has one, with all of its retries. The status is 409 if no trial has
    failed, or while the sweep is queued, stopping or being cancelled.
    """

    def act(session: Session, row: Sweep) -> None:
        refuse_unless_it_can_go_on(session, row)
        reopening.rerun(session, row.id)

    return _answer(context, once(context, who.owner, key, JsonBody({"rerun": sweep_id}), sweep_id, act))


@router.post("/trials/{trial_id}/rerun", status_code=202, response_model=schemas.TrialView)
def rerun_trial(trial_id: TrialId, context: Ctx, who: Who, key: OneKey) -> Response:
    """Run a failed trial again, as ``POST /v1/sweeps/{sweep_id}/rerun`` does with all of a sweep.

    The status is 409 if the trial has not failed.
    """

    def act(session: Session, row: Sweep) -> None:
        refuse_unless_it_can_go_on(session, row)
        reopening.rerun_trial(session, trial_id)

    with context.database.read() as session:
        sweep_id = trials.get(session, trial_id).sweep_id
    once(context, who.owner, key, JsonBody({"rerun": trial_id}), sweep_id, act)
    with context.database.read() as session:
        return answer(presenters.trial(session, trials.get(session, trial_id)), 202)


@router.post(
    "/sweeps/{sweep_id}/extend", status_code=202, response_model=schemas.SweepView, openapi_extra=EXTENSION_BODY
)
def extend_sweep(sweep_id: SweepId, document: Posted, context: Ctx, who: Who, key: OneKey) -> Response:
    """Give a sweep further trials; one that has ended is running again until they end.

    ``{"trials": 8}`` adds trials to a sweep whose sampler takes a number of them, or points, each with all of its
    seeds, if the sweep has ``repeats``.
    ``{"space": {"model.margin": [0.3]}}`` adds new values to dimensions of a grid. The trials that exist keep their
    numbers, points and results, and no point of a grid is trained twice. The status is 409 while the sweep is stopping
    or being cancelled.
    """
    body = JsonBody({"extend": sweep_id, "by": document.content})
    with context.database.read() as session:
        before = sweeps.get(session, sweep_id)
        known = idempotency.sweep_of(session, who.owner, key, body.hashes) if key else None
        count, earlier = reopening.trials_to_be(session, before), trials.observations(session, sweep_id)
    if known:
        return _answer(context, before)
    states.after_verb(before.state, "extend")  # type: ignore[arg-type]  # a column is plain text
    extension = parse_extension(document.content)
    spec = _extended(readable(before), before, extension, count, context)
    facts, needed = facts_of(spec), sweep_bytes(spec)
    total = trial_count(spec)
    if earlier and not SAMPLERS[spec.search.sampler].takes_trials:
        total = len(earlier) + len(new_points(spec, (trial.params for trial in earlier)))

    def act(session: Session, row: Sweep) -> None:
        if row.spec != before.spec or reopening.trials_to_be(session, row) != count:
            detail = f"sweep {sweep_id} was extended or ended in another way at the same time; look at it and try again"
            raise Refused(409, "Changed meanwhile", detail)
        states.after_verb(row.state, "extend")  # type: ignore[arg-type]  # a column is plain text
        refuse_without_space(session, spec, reopening.bytes_to_come(session, row, needed))
        reopening.extend(session, row, stored(spec), total, facts, needed)

    return _answer(context, once(context, who.owner, key, body, sweep_id, act))


@router.delete("/sweeps/{sweep_id}", status_code=204)
def delete_sweep(sweep_id: SweepId, context: Ctx) -> Response:
    """Delete a sweep that has ended, with its trials, its checkpoints and its runs in MLflow.

    From then on there is no such sweep for any call, and its checkpoints count no more. The controller removes the
    rest in the background. A trial's run in MLflow stays if the model registry has a version of it. The status is 409
    while the sweep has not ended, and 404 if it was deleted before.
    """
    with context.database.write() as session:
        removals.begin(session, sweep_id)
    return Response(status_code=204)


def _answer(context: Context, row: Sweep) -> Response:
    with context.database.read() as session:
        return answer(presenters.sweep(session, sweeps.get(session, row.id), context.settings), 202)


def once(
    context: Context,
    owner: str,
    key: str | None,
    body: JsonBody,
    sweep_id: str,
    act: Callable[[Session, Sweep], None],
) -> Sweep:
    """Call ``act`` with a sweep that is locked, unless a request with the same key and body has done so before.

    Args:
        context: The application's database.
        owner: Who makes the request.
        key: The idempotency key; None to act in any case.
        body: What is wanted, by which a repeated request is recognised.
        sweep_id: The sweep.
        act: What to do, in a write transaction.

    Raises:
        NotFound: There is no such sweep.
        KeyReused: A request with this key was about something else.
    """

    def attempt() -> Sweep:
        with context.database.write() as session:
            row = sweeps.get_locked(session, sweep_id)
            if key and idempotency.sweep_of(session, owner, key, body.hashes):
                return row
            act(session, row)
            if key:
                idempotency.keep(session, owner, key, body.hashes[0], sweep_id)
            return row

    try:
        return attempt()
    except IntegrityError:
        # a request about another sweep stored this key after we had looked for it
        return attempt()


def readable(row: Sweep) -> SweepSpec:
    """Return a sweep's document; refuse a sweep of which this version could train nothing."""
    spec = presenters.spec_of(row)
    if spec is None:
        detail = f"sweep {row.id} was stored by an earlier release, and this one cannot train it; submit it anew"
        raise Refused(409, "Not trainable", detail)
    return spec


def refuse_unless_it_can_go_on(session: Session, row: Sweep) -> None:
    """Refuse to run trials of a sweep again that cannot be trained, or whose checkpoints do not fit into the store."""
    states.after_verb(row.state, "rerun")  # type: ignore[arg-type]  # a column is plain text
    refuse_without_space(session, readable(row), reopening.bytes_to_come(session, row, row.checkpoint_bytes))


def _extended(spec: SweepSpec, row: Sweep, extension: Extension, count: int, context: Context) -> SweepSpec:
    """Return the sweep with what is added to it, checked as a new one is; errors name the fields of the extension."""
    document: dict[str, Any] = extended_document(spec, row.spec, extension, count)
    try:
        return read_sweep(document, context.settings)
    except SpecError as error:
        raise SpecError([in_extension(found, spec, extension) for found in error.errors]) from None
