"""Writes an ended sweep's leaderboard and report to its MLflow run, ends the run, and registers the best model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from service.store import sweep_record
from service.store.database import Database
from service.store.tables import TrialCheckpoint
from service.tracking import model_registry, plain_models, points_artifact, sweep_results
from service.tracking.checkpoint_check import problem_of
from service.tracking.mlflow_runs import MODEL_TAG, RunMetrics, Runs
from service.tracking.plain_models import PlainFiles
from service.tracking.report_artifacts import report_files
from service.tracking.run_names import model_name
from service.tracking.sweep_results import SweepResults
from service.tracking.sweep_runs import SweepRuns
from service.tracking.trial_models import log_models
from workers.checkpoint_files import folder_name

REGISTERED_TAG = "spectral.registered_run"
"""The tag of a sweep's run with the trial's run whose model was added to the model registry."""


def read_and_plot(database: Database, sweep_id: str) -> tuple[SweepResults, dict[str, bytes]]:
    """Return the results of a sweep, and the files of its report by their paths among the artifacts.

    Everything is read from the database, and MLflow is not asked.
    """
    with database.read() as session:
        found = sweep_results.read(session, sweep_id)
        record = sweep_record.read(session, found.sweep)
    return found, report_files(sweep_record.analysis_of(database, record))


def project_results(
    runs: Runs,
    sweep_runs: SweepRuns,
    end: dict[str, Any],
    found: SweepResults,
    drawn: dict[str, bytes],
    plain: PlainFiles,
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
        drawn: The files of the report by their paths.
        plain: The network of the best trial without our code, by form; may be empty.

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
                path = Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            runs.client.log_artifacts(run_id, folder)
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
                sweep_runs.note_model(trial.id, model_id)
            if model_id is not None and run.data.tags.get(REGISTERED_TAG) != best_run:
                lacks = _register(runs, runs.get(best_run), model_id, found, plain)
                tags[REGISTERED_TAG] = None if lacks else best_run
    runs.log(run_id, points, tags)
    runs.end(run_id, end["state"], end["at"])
    return lacks


def _register(runs: Runs, run: Run, model_id: str, found: SweepResults, plain: PlainFiles) -> str | None:
    """Register the model of the best trial, and its forms without our code, under the sweep's name.

    Args:
        runs: The service's runs in MLflow.
        run: The run of the best trial.
        model_id: Its model.
        found: The sweep's results.
        plain: The forms.

    Returns:
        Why the model cannot be registered, for a person to read; None if the registry has it.
    """
    assert found.best is not None
    best, sweep, goal = found.best, found.sweep, found.objective
    step = best.trial.best_step or 0
    text = f"Trial {best.trial.number} of sweep {sweep.name} ({sweep.id}): {goal.metric} = {best.trial.objective:.6g} "
    text += f"at step {step}."
    link = f" See [the sweep]({runs.page}/#{sweep.id})." if runs.page else ""
    run_id = run.info.run_id
    lacks = model_registry.register(runs.client, run_id, model_id, sweep.name, sweep.id, text + link)
    if lacks or best.spec is None:
        return lacks
    name = model_name(sweep.name, best.trial.number, step)
    logged = plain_models.log_plain(runs, run, best.spec, name, folder_name(step), step, plain)
    for form, own in logged.items():
        described = f"{text} {plain_models.DESCRIPTIONS[form]}{link}"
        # that a name is a prompt's, or a form was deleted, costs the model itself nothing
        model_registry.register(runs.client, run_id, own, f"{sweep.name}-{form}", sweep.id, described, form)
    return None


def _log_pruned(runs: Runs, run_id: str, found: SweepResults) -> tuple[str | None, str | None]:
    """Log the model of the best trial, which was pruned, to its run.

    Returns:
        The id of the logged model, or None; and then why its model cannot be logged, for a person to read.
    """
    assert found.best is not None
    trial, spec, folder = found.best.trial, found.best.spec, found.best_checkpoint
    if spec is None or folder is None:
        return None, None
    if problem := problem_of(folder):
        return (
            None,
            f"its best model is not in the model registry: trial {trial.number} was pruned; {problem}",
        )
    row = TrialCheckpoint(trial_id=trial.id, step=trial.best_step, path=str(folder))
    tags = log_models(runs, runs.get(run_id), found.sweep, trial, spec, [row], found.best_told)
    runs.log(run_id, [], tags)
    return tags.get(MODEL_TAG), None
