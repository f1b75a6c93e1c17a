"""``/v1/trials``: one trial, its reports, its checkpoints and its model."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from service.api import checkpoint_files, presenters, schemas
from service.api.deps import Ctx, TrialId
from service.api.strict_query import Known
from service.store import attempts, checkpoints, events, projections, reports, sweeps, trials
from service.store.errors import NotFound
from service.store.tables import Trial
from service.store.trials import TrialVerb
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec

router = APIRouter(prefix="/v1/trials", tags=["trials"], dependencies=[Known])

SNIPPET = """import mlflow
import numpy as np

mlflow.set_tracking_uri("{server}")
model = mlflow.pyfunc.load_model("{uri}")
sequences = np.zeros({shape}, np.{dtype})  # {axes}
print(model.predict(sequences))
"""


@router.get("/{trial_id}")
def get_trial(trial_id: TrialId, context: Ctx) -> schemas.TrialView:
    """Return a trial: its parameters, state, step and best objective."""
    with context.database.read() as session:
        return presenters.trial(trials.get(session, trial_id))


@router.post("/{trial_id}/{verb}", status_code=202)
def steer(
    trial_id: TrialId, verb: Annotated[TrialVerb, Path(description="What to do with the trial.")], context: Ctx
) -> schemas.TrialView:
    """Stop or cancel a trial that has not ended.

    Both end a running trial without a new checkpoint; earlier checkpoints stay. After ``stop`` it counts as pruned,
    after ``cancel`` as cancelled; a waiting trial counts as cancelled in both cases. The controller carries the verb
    out; until then it is shown as ``wanted``, and repeating it, or ``stop`` after ``cancel``, changes nothing. Once the
    trial has ended, the answer is 409.
    """
    with context.database.write() as session:
        return presenters.trial(trials.want(session, trial_id, verb))


@router.get("/{trial_id}/metrics")
def get_metrics(
    trial_id: TrialId,
    context: Ctx,
    keys: Annotated[list[str] | None, Query(description="The names of the metrics to return; all by default.")] = None,
    after: Annotated[int, Query(ge=-1, le=2**53, description="Return only the reports of steps above this one.")] = -1,
) -> schemas.TrialMetrics:
    """Return the trial's reports after a step, the first 10,000, each with the metrics of one step.

    Reports without any of the metrics asked for are left out.
    """
    with context.database.read() as session:
        trials.get(session, trial_id)
        rows = reports.of_trial(session, trial_id, after, limit=10_000)
    known = sorted({key for row in rows for key in row.values})
    kept = [(row, {k: v for k, v in row.values.items() if keys is None or k in keys}) for row in rows]
    points = [schemas.MetricsPoint(step=row.step, at=row.at, values=values) for row, values in kept if values]
    return schemas.TrialMetrics(trial_id=trial_id, keys=known, points=points)


@router.get("/{trial_id}/checkpoint", response_model=schemas.TrialCheckpoints)
def get_checkpoint(
    trial_id: TrialId,
    context: Ctx,
    which: Annotated[Literal["best", "last"], Query(description="Which checkpoint ``download`` returns.")] = "best",
    download: Annotated[bool, Query(description="Return the model itself, as a safetensors file.")] = False,
) -> schemas.TrialCheckpoints | Response:
    """Return where the trial's last and best checkpoints are, or with ``download=1`` the model of one of them.

    A download is answered with 404 if there is no such checkpoint, or if the API's machine cannot read its folder.
    """
    with context.database.read() as session:
        trials.get(session, trial_id)
        if download:
            return checkpoint_files.model_of(checkpoints.find(session, trial_id, which), trial_id, which)
        last, best = (checkpoints.find(session, trial_id, w) for w in ("last", "best"))
    return schemas.TrialCheckpoints(
        trial_id=trial_id, last=checkpoint_files.shown(last, "last"), best=checkpoint_files.shown(best, "best")
    )


@router.get("/{trial_id}/model")
def get_model(trial_id: TrialId, context: Ctx) -> schemas.ModelView:
    """Return how to load the trial's model from MLflow, where it is logged once the trial has succeeded.

    The status is 404 until MLflow has the trial's run and the trial has a checkpoint. From then on the address is
    known, but only that of a succeeded trial leads to a model.
    """
    with context.database.read() as session:
        row = trials.get(session, trial_id)
        spec = SweepSpec.model_validate(sweeps.get(session, row.sweep_id).spec)
        run = projections.get(session, trial_id)
        if run is None or checkpoints.find(session, trial_id, "last") is None:
            raise NotFound(
                "model of trial", trial_id, " yet: MLflow gets a trial's model after the trial has succeeded"
            )
    uri, url = f"runs:/{run.run_id}/model", presenters.mlflow_url(context.settings, run)
    snippet = _snippet(context.settings.mlflow_public_url, uri, spec, row)
    return schemas.ModelView(trial_id=trial_id, uri=uri, mlflow_url=url, snippet=snippet)


def _snippet(server: str, uri: str, spec: SweepSpec, trial: Trial) -> str:
    """Return a program that loads the trial's model and runs it on one sequence of the shape that its task has."""
    own = plan_trial(spec, trial.number, trial.params).require_spec()
    steps, features = own.task.sequence_length, own.task.input_size
    shape, axes, dtype = f"(1, {steps})", "sequences, time steps; each value is a token's number", "int64"
    if own.task.tokens is None:
        shape, axes = f"(1, {steps}, {features})", "sequences, time steps, features"
        dtype = own.training.parameter_dtype
    return SNIPPET.format(server=server, uri=uri, shape=shape, axes=axes, dtype=dtype)


@router.get("/{trial_id}/logs")
def get_logs(trial_id: TrialId, context: Ctx) -> schemas.Logs:
    """Return the trial's history: its attempts, why each of them ended, and its first 1,000 events."""
    with context.database.read() as session:
        row = trials.get(session, trial_id)
        tries = attempts.of_trial(session, trial_id)
        happened = events.of_trial(session, row.sweep_id, trial_id)
    return schemas.Logs(
        trial_id=trial_id,
        state=row.state,
        reason=row.reason,
        attempts=[schemas.AttemptView.model_validate(a, from_attributes=True) for a in tries],
        events=[schemas.EventView.model_validate(e, from_attributes=True) for e in happened],
    )
