"""``/v1/trials``: one trial, its reports, its checkpoints and its model. ``trial_logs`` has its history and output."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from service import schemas
from service.api import checkpoint_files, model_snippet, presenters
from service.api.answers import answer
from service.api.deps import Ctx, TrialId, Who
from service.api.strict_query import Known
from service.schemas.times import rfc3339
from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import checkpoints, outbox, points, projections, reports, sweeps, trials
from service.store.errors import NotFound
from service.store.tables import Projection, Trial
from service.store.trials import TrialVerb
from workers.spec.more_steps import plan_longer
from workers.spec.sweep import SweepSpec

router = APIRouter(prefix="/v1/trials", tags=["trials"], dependencies=[Known])


@router.get("/{trial_id}", response_model=schemas.TrialView)
def get_trial(trial_id: TrialId, context: Ctx) -> Response:
    """Return a trial: its parameters, state, step and best objective."""
    with context.database.read() as session:
        return answer(presenters.trial(session, trials.get(session, trial_id)))


@router.post("/{trial_id}/{verb}", status_code=202, response_model=schemas.TrialView)
def steer(
    trial_id: TrialId, verb: Annotated[TrialVerb, Path(description="What to do with the trial.")], context: Ctx
) -> Response:
    """Stop or cancel a trial that has not ended.

    Both end a running trial without a new checkpoint; earlier checkpoints stay. After ``stop`` it counts as pruned,
    after ``cancel`` as cancelled; a waiting trial counts as cancelled in both cases. The controller carries the verb
    out; until then it is shown as ``wanted``, and repeating it, or ``stop`` after ``cancel``, changes nothing. Once the
    trial has ended, the answer is 409.
    """
    with context.database.write() as session:
        shown = presenters.trial(session, trials.want(session, trial_id, verb))
    return answer(shown, 202)


@router.get("/{trial_id}/metrics", response_model=schemas.TrialMetrics)
def get_metrics(
    trial_id: TrialId,
    context: Ctx,
    keys: Annotated[list[str] | None, Query(description="The names of the metrics to return; all by default.")] = None,
    after: Annotated[int, Query(ge=-1, le=2**53, description="Return only the reports of steps above this one.")] = -1,
    points: Annotated[
        int | None,
        Query(ge=2, le=10_000, description="About the most reports to return; the first 10,000 reports by default."),
    ] = None,
) -> Response:
    """Return the trial's reports after a step, the first 10,000, each with the metrics of one step.

    With ``points`` they are spread evenly over all reports after the step, however many there are. Reports with the
    same metrics are thinned together, so that each metric has its first and its last report. Reports without any of
    the metrics asked for are left out.
    """
    with context.database.read() as session:
        trials.get(session, trial_id)
        if points is None:
            rows = reports.of_trial(session, trial_id, after, limit=10_000)
        else:
            rows = reports.thinned(session, trial_id, after, points)
    known = sorted({key for row in rows for key in row.values})
    kept = [(row, {k: v for k, v in row.values.items() if keys is None or k in keys}) for row in rows]
    shown = [{"step": row.step, "at": rfc3339(row.at), "values": values} for row, values in kept if values]
    return answer({"trial_id": trial_id, "keys": known, "points": shown})


@router.get("/{trial_id}/checkpoint", response_model=schemas.TrialCheckpoints)
def get_checkpoint(
    trial_id: TrialId,
    context: Ctx,
    who: Who,
    which: Annotated[Literal["best", "last"], Query(description="Which checkpoint ``download`` returns.")] = "best",
    download: Annotated[bool, Query(description="Return the model itself, as a safetensors file.")] = False,
) -> schemas.TrialCheckpoints | Response:
    """Return where the trial's last and best checkpoints are, or with ``download=1`` the model of one of them.

    A download is answered with 404 if there is no such checkpoint, or if the API's machine cannot read its folder, and
    with 410 if the checkpoint was removed from the checkpoint store.
    """
    with context.database.read() as session:
        trials.get(session, trial_id)
        if download:
            return checkpoint_files.model_of(checkpoints.find(session, trial_id, which), trial_id, which, who.is_admin)
        last, best = (checkpoints.find(session, trial_id, w) for w in ("last", "best"))
    return schemas.TrialCheckpoints(
        trial_id=trial_id,
        last=checkpoint_files.shown(last, "last", who.is_admin),
        best=checkpoint_files.shown(best, "best", who.is_admin),
    )


@router.get("/{trial_id}/model")
def get_model(trial_id: TrialId, context: Ctx) -> schemas.ModelView:
    """Return how to load the trial's model from MLflow, where it is logged once the trial has succeeded.

    If the best trial of a sweep was pruned, its model is logged once the sweep has ended. Until MLflow has the model
    the status is 404, and it stays so for a trial that ends in another state, whose run was deleted in MLflow, or whose
    best checkpoint was removed before its model was logged. The detail says which is the case.
    """
    with context.database.read() as session:
        row = trials.get(session, trial_id)
        run = projections.get(session, trial_id)
        if run is None or run.deleted or run.lacks or not _is_logged(session, row):
            raise NotFound("model of trial", trial_id, _why_no_model(row, run))
        spec = SweepSpec.model_validate(sweeps.get(session, row.sweep_id).spec)
    # releases up to 0.2 gave every model the name "model"
    uri = f"models:/{run.model_id}" if run.model_id else f"runs:/{run.run_id}/model"
    own = plan_longer(spec, row.number, row.params, row.added_steps).require_spec()
    server = context.settings.mlflow_public_url
    return schemas.ModelView(
        trial_id=trial_id,
        uri=uri,
        mlflow_url=presenters.mlflow_url(context.settings, run),
        snippet=model_snippet.with_mlflow(server, uri, own),
        torch_snippet=model_snippet.with_torch(server, run.run_id, own),
    )


def _is_logged(session: Session, trial: Trial) -> bool:
    """Return whether everything has been written to MLflow that the trial's model is logged with."""
    if trial.state == "succeeded":
        return not outbox.has_end(session, trial.sweep_id, trial.id)
    sweep = sweeps.get(session, trial.sweep_id)
    if trial.state != "pruned" or sweep.state not in SWEEP_ENDED or outbox.has_end(session, sweep.id, None):
        return False
    own = projections.get(session, sweep.id)
    return own is not None and not own.lacks and points.best_trial(session, sweep) is trial


def _why_no_model(trial: Trial, run: Projection | None) -> str:
    """Return why MLflow does not have the model of a trial, as the second half of a sentence."""
    if trial.state == "succeeded" and run and run.lacks:
        return f" in MLflow: {run.lacks}"
    if trial.state == "succeeded" and run and run.deleted:
        return f": its run {run.run_id} was deleted in MLflow; restore it there to load the model"
    if trial.state == "succeeded":
        return " yet: the trial has succeeded, and its model is about to be logged to MLflow; try again in a moment"
    if trial.state in TRIAL_ENDED:
        return (
            f": the trial is {trial.state}, and MLflow gets only models of trials that have succeeded, and that of the "
            "best trial once its sweep has ended; "
            f"the checkpoints of this one are at /v1/trials/{trial.id}/checkpoint"
        )
    return f" yet: the trial is {trial.state}, and MLflow gets its model when it has succeeded"
