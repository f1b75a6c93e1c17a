"""The tags and parameters with which the MLflow runs of a sweep and of its trials are created."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.store.tables import Sweep, Trial
from service.tracking.mlflow_runs import SWEEP_TAG, TRIAL_TAG
from workers.spec.expand import objective
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

PARENT_TAG = "mlflow.parentRunId"
"""The tag of a trial's run that makes MLflow show it under the run of its sweep."""
POINT_TAG, REPEAT_TAG = "spectral.point", "spectral.repeat"
"""The tags of a trial's run with the number of its point, and with its place among the trials of the point."""
_SOURCE_TAGS = {"mlflow.source.name": "spectral", "mlflow.source.type": "JOB"}


class RunFields(NamedTuple):
    """The tags and the parameters of a run, by name."""

    tags: dict[str, str]
    params: dict[str, Any]


def of_sweep(sweep: Sweep, spec: SweepSpec) -> RunFields:
    """Return the fields of a sweep's own run."""
    goal = objective(spec)
    tags = {SWEEP_TAG: sweep.id, "spectral.kind": "sweep", "spectral.task": spec.task.name, **_SOURCE_TAGS}
    params = {
        "sampler": spec.search.sampler,
        "seed": spec.search.seed,
        "trials": sweep.trial_count,
        "objective": goal.metric,
        "direction": goal.direction,
        "early_stopping": spec.early_stopping.kind,
    }
    if spec.repeats > 1:
        params |= {"repeats": spec.repeats, "statistic": spec.objective.statistic}
    for path, dimension in spec.space.items():
        params[f"space.{path}"] = str(dimension.model_dump_json(exclude_defaults=True))
    return RunFields(tags, params)


def of_trial(trial: Trial, spec: TrialSpec | None, task: str, parent_run: str, repeats: int = 1) -> RunFields:
    """Return the fields of a trial's run.

    Args:
        trial: The trial's row.
        spec: The trial's task, model and training, which become the parameters; None if the trial cannot be trained, so
            that the run gets its swept values only.
        task: The name of the task.
        parent_run: The sweep's run.
        repeats: How many trials each point of the sweep has. With several the run is tagged with its point, by which
            MLflow can group.
    """
    tags = {
        SWEEP_TAG: trial.sweep_id,
        TRIAL_TAG: trial.id,
        PARENT_TAG: parent_run,
        "spectral.kind": "trial",
        "spectral.task": task,
        **_SOURCE_TAGS,
    }
    if repeats > 1:
        tags |= {POINT_TAG: str(trial.number // repeats), REPEAT_TAG: str(trial.number % repeats)}
    if spec is None:
        return RunFields(tags, {"trial": trial.number, **trial.params})
    return RunFields(tags | {"spectral.seed": str(spec.training.seed)}, trial_params(spec))


def trial_params(spec: TrialSpec) -> dict[str, Any]:
    """Return the fields of a trial's task, model and training by path, with defaults, and its numbers of parameters.

    Fields that are None, because they do not apply, are left out.
    """
    found: dict[str, Any] = {"trial": spec.number}
    for part in ("task", "model", "training"):
        values = getattr(spec, part).model_dump(mode="json")
        found |= {f"{part}.{name}": value for name, value in values.items() if value is not None}
    if spec.model.reflected:
        found["model.reflectors_u"], found["model.reflectors_v"] = spec.model.reflector_counts
    if spec.model.spectral:
        found |= {"model.margin": spec.model.band_margin, "model.sigma": spec.model.band_centre}
    parameters = count_parameters(spec.model, spec.task)
    found |= {"parameters.total": parameters.total, "parameters.recurrent": parameters.recurrent}
    return found
