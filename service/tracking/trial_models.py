"""Logs the kept checkpoints of a trial as MLflow models, each with the metrics of its step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mlflow.entities import Run

from service.store.tables import Sweep, Trial, TrialCheckpoint, TrialReport
from service.tracking import logged_models
from service.tracking.checkpoint_check import problem_of
from service.tracking.data_inputs import name_and_digest
from service.tracking.mlflow_runs import MODEL_TAG, MODELS_TAG, Runs, models_of, models_text
from service.tracking.run_fields import trial_params
from service.tracking.run_names import model_name
from service.tracking.trial_metrics import of_checkpoint
from workers.checkpoint_files import kept_of
from workers.spec.sweep import CheckpointsSpec
from workers.spec.trial import TrialSpec

MOST_MODELS = 20
"""The largest number of checkpoints of one trial that are logged as models: the best, and the last of the others."""


def chosen(
    spec: CheckpointsSpec, checkpoints: Sequence[TrialCheckpoint], best: TrialCheckpoint | None
) -> list[TrialCheckpoint]:
    """Return the checkpoints of an ended trial that become models, the best first.

    They are the best and the last one, and those that the sweep keeps beside them; at most ``MOST_MODELS``.

    Args:
        spec: Which checkpoints the sweep keeps.
        checkpoints: The trial's checkpoints in order of step, without those that are not on the disk any more.
        best: The best one.
    """
    steps = [checkpoint.step for checkpoint in checkpoints]
    kept = kept_of(spec, steps, best.step if best else None) | set(steps[-1:])
    others = [checkpoint for checkpoint in reversed(checkpoints) if checkpoint.step in kept and checkpoint is not best]
    return [*([best] if best else []), *others][:MOST_MODELS]


def log_models(
    runs: Runs,
    run: Run,
    sweep: Sweep,
    trial: Trial,
    spec: TrialSpec,
    checkpoints: Sequence[TrialCheckpoint],
    reports: Sequence[TrialReport],
) -> dict[str, str]:
    """Log checkpoints of a trial as models, and return tags for its run that name them.

    A checkpoint whose model the run's tags name already is not logged again, unless the model's files are gone: a model
    that was deleted in MLflow stays deleted. A checkpoint whose files cannot be used is left out.

    Args:
        runs: The service's runs in MLflow.
        run: The trial's run.
        sweep: The sweep's row.
        trial: The trial's row.
        spec: What the trial trained.
        checkpoints: The checkpoints, the one whose model is the trial's first.
        reports: The trial's reports at the steps of the checkpoints, and its last one.
    """
    known = models_of(run)
    if checkpoints and MODEL_TAG in run.data.tags:  # an earlier release has logged this one alone
        known.setdefault(Path(checkpoints[0].path).name, run.data.tags[MODEL_TAG])
    for checkpoint in checkpoints:
        folder = Path(checkpoint.path)
        logged = known.get(folder.name)
        if logged is not None and not logged_models.is_without_files(runs.client, logged):
            continue
        known.pop(folder.name, None)
        if problem_of(folder) is not None:
            continue
        name = model_name(sweep.name, trial.number, checkpoint.step)
        params = trial_params(spec) | {"step": checkpoint.step}
        log = partial(logged_models.log_model, runs.client, run, spec, folder, params, name=name, step=checkpoint.step)
        known[folder.name] = runs.on(run.info.run_id, log)
        for point in of_checkpoint(reports, checkpoint.step, tested=checkpoint is checkpoints[0]):
            runs.log_of_model(run.info.run_id, known[folder.name], point, name_and_digest(spec.task))
    tags = {MODELS_TAG: models_text(known)}
    first = known.get(Path(checkpoints[0].path).name) if checkpoints else None
    return tags | ({MODEL_TAG: first} if first else {}) if known else {}
