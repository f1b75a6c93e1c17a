"""Writes one trial's outbox entries to its MLflow run: metrics, tags and, at its end, checkpoints and the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.store import checkpoints
from service.store.database import Database
from service.store.tables import OutboxEntry, Trial
from service.tracking import logged_models
from service.tracking.mlflow_runs import Runs
from service.tracking.sweep_runs import trial_params
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

MODEL_TAG = "spectral.model_id"


def project_trial(
    database: Database, runs: Runs, trial: Trial, spec: TrialSpec | None, run_id: str, entries: Sequence[OutboxEntry]
) -> None:
    """Write a trial's outbox entries to its run.

    Checkpoints are only named in a tag until the trial ends; then the best and the last one are copied, the model of a
    trial that succeeded is logged, and the run is ended. Repeating it with the same entries changes nothing.

    Several trials may be written at once: the function only reads the database, and only writes to the trial's run.

    Args:
        database: The database, which lists the trial's checkpoints.
        runs: The service's runs in MLflow.
        trial: The trial's row.
        spec: The trial's task, model and training; None if it cannot be trained.
        run_id: The trial's run.
        entries: The trial's outbox entries, in order of id.

    Raises:
        RunGone: If MLflow no longer has the run.
    """
    points = [(e.payload["step"], e.payload["at"], e.payload["values"]) for e in entries if e.kind == "metrics"]
    paths = [entry.payload["path"] for entry in entries if entry.kind == "checkpoint"]
    tags: dict[str, Any] = {"spectral.checkpoint": paths[-1]} if paths else {}
    end = next((entry.payload for entry in entries if entry.kind == "ended"), None)
    if end:
        tags |= _upload(database, runs, trial, spec, run_id, end["state"])
        tags |= {"spectral.state": end["state"], "spectral.reason": end["reason"]}
    runs.log(run_id, points, tags)
    if end:
        runs.end(run_id, end["state"], end["at"])


def _upload(
    database: Database, runs: Runs, trial: Trial, spec: TrialSpec | None, run_id: str, state: str
) -> dict[str, Any]:
    """Copy an ended trial's checkpoints to its run, and log its model if it succeeded.

    A checkpoint that this machine cannot read is skipped with a warning. A model that the run's tags name already is
    not logged again.

    Returns:
        Tags for the run: the objective, the best step and, if a model was logged, its id.
    """
    with database.read() as session:
        best = checkpoints.find(session, trial.id, "best")
        last = checkpoints.find(session, trial.id, "last")
    run = runs.get(run_id)
    for which, checkpoint in (("best", best), ("last", last)):
        if checkpoint is not None and _is_readable(trial, Path(checkpoint.path)):
            runs.copy(run, checkpoint.path, f"checkpoints/{which}")
    tags: dict[str, Any] = {"spectral.objective": trial.objective, "spectral.best_step": trial.best_step}
    source = best or last
    is_due = state == "succeeded" and MODEL_TAG not in run.data.tags
    if is_due and spec and source and _is_readable(trial, Path(source.path)):
        path, params = Path(source.path), trial_params(spec)
        tags[MODEL_TAG] = logged_models.log_model(runs.client, run, spec, path, params)
    return tags


def _is_readable(trial: Trial, path: Path) -> bool:
    if (path / logged_models.CHECKPOINT_FILES[0]).is_file():
        return True
    log.warning(
        "checkpoint %s of trial %s cannot be read on this machine, so MLflow gets no copy of it; mount the checkpoint "
        "store at the same path as on the workers (SPECTRAL_CHECKPOINT_DIR)",
        path,
        trial.id,
    )
    return False
