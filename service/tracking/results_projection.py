"""Writes an ended sweep's leaderboard and plots to its MLflow run, ends the run, and registers the best model."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from service.store.database import Database
from service.tracking import diagnostic_plots, logged_models, model_registry, plots, points_artifact, sweep_results
from service.tracking.checkpoint_check import problem_of
from service.tracking.mlflow_runs import MODEL_TAG, RunMetrics, Runs
from service.tracking.run_fields import trial_params
from service.tracking.sweep_results import SweepResults
from service.tracking.sweep_runs import SweepRuns

REGISTERED_TAG = "spectral.registered_run"
"""The tag of a sweep's run with the trial's run whose model was added to the model registry."""


def read_and_plot(database: Database, sweep_id: str) -> tuple[SweepResults, dict[str, bytes]]:
    """Return the results of a sweep, and its plots as PNG files by name; none if no trial has an objective.

    Everything is read from the database, and MLflow is not asked.
    """
    with database.read() as session:
        found = sweep_results.read(session, sweep_id)
    if not found.scored:
        return found, {}
    drawn = {"results.png": plots.results(found), "learning_curves.png": plots.learning_curves(found)}
    return found, drawn | diagnostic_plots.drawn(found)


def project_results(
    runs: Runs, sweep_runs: SweepRuns, end: dict[str, Any], found: SweepResults, drawn: dict[str, bytes]
) -> str | None:
    """Write the results to the sweep's run, register the model of the best trial, and end the run.

    The models of trials that succeeded have been logged at their ends; if the best trial was pruned, its model is
    logged here. Nothing is registered if no trial has a result, or if the best one has no logged model. A model is
    registered only once, so that a version that was deleted in MLflow stays deleted.

    Args:
        runs: The service's runs in MLflow.
        sweep_runs: The runs of this sweep; those of its trials must be up to date.
        end: The payload of the outbox entry for the sweep's end: ``state``, ``reason`` and ``at``.
        found: The sweep's trials, ranked by the objective.
        drawn: The plots as PNG files by name; may be empty.

    Returns:
        Why the model of the best trial could not be registered; None if it could, or if there is none.

    Raises:
        RunMissing: If the sweep's run or that of the best trial is missing.
        ExperimentDeleted: If their experiment is in MLflow's trash.
    """
    run = runs.get(sweep_runs.parent())
    run_id = run.info.run_id
    runs.client.log_dict(run_id, sweep_results.leaderboard(found), "leaderboard.json")
    if drawn:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in drawn.items():
                Path(folder, name).write_bytes(content)
            runs.client.log_artifacts(run_id, folder, "plots")
    points: list[RunMetrics] = []
    tags: dict[str, str | None] = {"spectral.state": end["state"], "spectral.reason": end["reason"]}
    lacks: str | None = None
    if found.points:
        runs.client.log_dict(run_id, points_artifact.table(found), points_artifact.FILE)
        tags |= points_artifact.TABLE_TAGS
    if found.best is not None:
        trial = found.best.trial
        assert trial.objective is not None
        values = {f"best/{found.objective.metric}": trial.objective}
        tags["spectral.best_trial"] = trial.id
        if found.points and found.points[0].objective is not None:
            values[f"best_point/{found.objective.metric}"] = found.points[0].objective
            tags["spectral.best_point"] = str(found.points[0].number)
        points = [(trial.best_step or 0, end["at"], values)]
        best_run = sweep_runs.child(trial, found.best.spec)
        if sweep_runs.is_deleted(trial.id):
            lacks = (
                f"its best model is not in the model registry: the run of trial {trial.number} was deleted in MLflow"
            )
        else:
            tags["spectral.best_run"] = best_run
            model_id = runs.get(best_run).data.tags.get(MODEL_TAG)
            if model_id is None and trial.state == "pruned":
                model_id, lacks = _log_pruned(runs, best_run, found)
            if model_id is not None and run.data.tags.get(REGISTERED_TAG) != best_run:
                lacks = model_registry.register(runs.client, best_run, model_id, found.sweep.name, found.sweep.id)
                tags[REGISTERED_TAG] = None if lacks else best_run
    runs.log(run_id, points, tags)
    runs.end(run_id, end["state"], end["at"])
    return lacks


def _log_pruned(runs: Runs, run_id: str, found: SweepResults) -> tuple[str | None, str | None]:
    """Log the model of the best trial, which was pruned, to its run.

    Returns:
        The id of the logged model, or None; and then why its model cannot be logged, for a person to read.
    """
    assert found.best is not None
    spec, folder = found.best.spec, found.best_checkpoint
    if spec is None or folder is None:
        return None, None
    if problem := problem_of(folder):
        return (
            None,
            f"its best model is not in the model registry: trial {found.best.trial.number} was pruned; {problem}",
        )
    run = runs.get(run_id)
    log_model = partial(logged_models.log_model, runs.client, run, spec, folder, trial_params(spec))
    model_id = runs.on(run_id, log_model)
    runs.log(run_id, [], {MODEL_TAG: model_id})
    return model_id, None
