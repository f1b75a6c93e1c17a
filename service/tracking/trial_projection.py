"""Writes one trial's outbox entries to its MLflow run: metrics, tags and, at its end, checkpoints and the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from service.store import checkpoints
from service.store.database import Database
from service.store.tables import OutboxEntry, Trial
from service.tracking import logged_models
from service.tracking.checkpoint_check import problem_of
from service.tracking.mlflow_runs import MODEL_TAG, Runs
from service.tracking.run_fields import trial_params
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)


def project_trial(
    database: Database, runs: Runs, trial: Trial, spec: TrialSpec | None, run_id: str, entries: Sequence[OutboxEntry]
) -> str | None:
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

    Returns:
        What MLflow lacks of the trial once it has ended, and why; None if nothing, or if the trial has not ended.

    Raises:
        RunDeleted: If the run is in MLflow's trash.
        RunGone: If MLflow no longer has the run.
        ExperimentDeleted: If the run's experiment is in MLflow's trash.
    """
    points = [(e.payload["step"], e.payload["at"], e.payload["values"]) for e in entries if e.kind == "metrics"]
    paths = [entry.payload["path"] for entry in entries if entry.kind == "checkpoint"]
    tags: dict[str, Any] = {"spectral.checkpoint": paths[-1]} if paths else {}
    end = next((entry.payload for entry in entries if entry.kind == "ended"), None)
    lacks: str | None = None
    if end:
        uploaded, lacks = _upload(database, runs, trial, spec, run_id, end["state"])
        tags |= uploaded | {"spectral.state": end["state"], "spectral.reason": end["reason"]}
    elif any(entry.kind == "reopened" for entry in entries):
        runs.reopen(run_id)
    runs.log(run_id, points, tags)
    if end:
        runs.end(run_id, end["state"], end["at"])
    return lacks


def _upload(
    database: Database, runs: Runs, trial: Trial, spec: TrialSpec | None, run_id: str, state: str
) -> tuple[dict[str, Any], str | None]:
    """Copy an ended trial's checkpoints to its run, and log its model if it succeeded.

    A checkpoint that cannot be used is left out. A model that the run's tags name already is not logged again, unless
    its files are gone: a model that was deleted in MLflow stays deleted.

    Returns:
        Tags for the run: the objective, the best step and, if a model was logged, its id; and what MLflow lacks of the
        trial, and why: the model of a trial that succeeded, or None.
    """
    with database.read() as session:
        best = checkpoints.find(session, trial.id, "best")
        last = checkpoints.find(session, trial.id, "last")
    run = runs.get(run_id)
    problems: dict[str, str | None] = {}
    for which, checkpoint in (("best", best), ("last", last)):
        if checkpoint is not None:
            path = Path(checkpoint.path)
            problems[checkpoint.path] = problem = problem_of(path)
            if problem is None:
                runs.copy(run, checkpoint.path, f"checkpoints/{which}")
            else:
                log.warning("MLflow gets no copy of the %s checkpoint of trial %s: %s", which, trial.id, problem)
    tags: dict[str, Any] = {"spectral.objective": trial.objective, "spectral.best_step": trial.best_step}
    source = best or last
    if state != "succeeded" or not spec or not source:
        return tags, None
    logged = run.data.tags.get(MODEL_TAG)
    if logged is not None and not logged_models.is_without_files(runs.client, logged):
        return tags, None
    if problem := problems[source.path]:
        return tags, f"its model was not logged: {problem}"
    log_model = partial(logged_models.log_model, runs.client, run, spec, Path(source.path), trial_params(spec))
    return tags | {MODEL_TAG: runs.on(run_id, log_model)}, None
