"""What can be done with a trial after its end: train it for more steps, replay it, compare it with another one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from service import schemas, states
from service.api import presenters
from service.api.after_end import once, readable, refuse_unless_it_can_go_on
from service.api.answers import answer
from service.api.data_reading import read_sweep
from service.api.deps import Ctx, TrialId, Who
from service.api.json_body import JsonBody, Posted
from service.api.likeness import likeness_of
from service.api.problems import Refused
from service.api.strict_query import Known
from service.api.submission import OneKey, find_by_key, submit
from service.states import TRIAL_ENDED
from service.store import longer_trials, reopening, sweeps, trials
from service.store.errors import NotFound
from service.store.tables import Sweep
from workers.errors import FieldError
from workers.spec.more_steps import parse_more_steps, plan_longer
from workers.spec.replay import replay_document
from workers.spec.training import MAX_STEPS

router = APIRouter(prefix="/v1/trials", tags=["after the end"], dependencies=[Known])
_MORE_STEPS = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_STEPS,
            "description": "The training steps that the trial is to have, with those that it has done.",
        }
    },
    "required": ["steps"],
    "additionalProperties": False,
    "examples": [{"steps": 1200}],
}
MORE_STEPS_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _MORE_STEPS}}}}


@router.post("/{trial_id}/extend", status_code=202, response_model=schemas.TrialView, openapi_extra=MORE_STEPS_BODY)
def extend_trial(trial_id: TrialId, document: Posted, context: Ctx, who: Who, key: OneKey) -> Response:
    """Train a trial that has succeeded for more steps, from its last checkpoint on; its sweep is running again.

    ``{"steps": 1200}`` is the number of steps that it is to have in all. It keeps its reports, and goes on as if it had
    been asked for so many steps at once, with the intervals of reports and checkpoints that it has. No rule ends it
    early. With ``repeats`` all trials of its point go on. The status is 409 if it has not succeeded, if it has reached
    ``training.target``, or if its last checkpoint was removed; and 422 if its learning rate followed a cosine, which
    has ended.
    """
    with context.database.read() as session:
        sweep_id = trials.get(session, trial_id).sweep_id
    steps = parse_more_steps(document.content)

    def act(session: Session, row: Sweep) -> None:
        states.after_verb(row.state, "extend")  # type: ignore[arg-type]  # a column is plain text
        if row.state == "queued":
            raise states.IllegalMove("cannot give a trial more steps while its sweep is queued")
        refuse_unless_it_can_go_on(session, row)
        chosen = longer_trials.going_on(session, readable(row), trials.get(session, trial_id), steps)
        reopening.train_longer(session, row, chosen, steps)

    body = JsonBody({"extend": trial_id, "by": document.content})
    once(context, who.owner, key, body, sweep_id, act)
    with context.database.read() as session:
        return answer(presenters.trial(session, trials.get(session, trial_id)), 202)


@router.post("/{trial_id}/replay", status_code=202, response_model=schemas.SweepView)
def replay_trial(trial_id: TrialId, context: Ctx, who: Who, key: OneKey) -> Response:
    """Train a trial once more with exactly its settings, as a new sweep of one trial, and return that sweep.

    ``GET /v1/trials/{trial_id}/compare`` of the new sweep's trial compares the two. The status is 409 if the trial has
    not ended, or has no report.
    """
    body = JsonBody({"replay": trial_id})
    row = find_by_key(context.database, body, key, who.owner)
    if row is None:
        with context.database.read() as session:
            trial = trials.get(session, trial_id)
            sweep = sweeps.get(session, trial.sweep_id)
        if trial.state not in TRIAL_ENDED or not trial.step:
            what = f"is {trial.state}" if trial.state not in TRIAL_ENDED else "has no report to compare a replay with"
            raise states.IllegalMove(f"cannot replay a trial that {what}; only one that has ended and has reports")
        plan = plan_longer(readable(sweep), trial.number, trial.params, trial.added_steps).require_spec()
        document = replay_document(sweep.spec, plan, trial_id, trial.added_steps)
        row, _ = submit(context.database, read_sweep(document, context.settings), body, key, who.owner)
    with context.database.read() as session:
        shown = presenters.sweep(session, sweeps.get(session, row.id), context.settings)
    return answer(shown, 202, {"Location": f"/v1/sweeps/{row.id}"})


@router.get("/{trial_id}/compare", response_model=schemas.TrialLikeness)
def compare_trials(
    trial_id: TrialId,
    context: Ctx,
    who: Who,
    other: Annotated[
        str | None,
        Query(max_length=48, description="The id of the other trial; by default the one that this one is a replay of."),
    ] = None,
) -> Response:
    """Compare the reports of two trials step by step: the same bits, the same up to rounding, or different.

    Beside each metric is the largest relative difference and the first step at which the two differ, and at the end
    what may explain it.
    """
    with context.database.read() as session:
        trial = trials.get(session, trial_id)
        sweep = sweeps.get(session, trial.sweep_id)
        readable(sweep)
        other = other or sweep.spec.get("replays")
        if other is None:
            problem, allowed = f"is missing, and trial {trial_id} is no replay", "the id of a trial to compare with"
            error = FieldError("other", None, problem, allowed)
            raise Refused(422, "Invalid request", str(error), [error])
        second = trials.get(session, other)
        owner = sweeps.get(session, second.sweep_id)
        if who.sees not in (None, owner.owner):
            raise NotFound("trial", other)
        readable(owner)
        is_replay = sweep.spec.get("replays") == other
        shown = likeness_of(session, *((second, trial) if is_replay else (trial, second)))
    return answer(shown)
