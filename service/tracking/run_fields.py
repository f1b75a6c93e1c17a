"""The names, tags, parameters and data sets with which the MLflow runs of a sweep and of its trials are created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE, MLFLOW_USER

from service.store.tables import Sweep, Trial
from service.tracking.data_inputs import data_input
from service.tracking.mlflow_runs import SWEEP_TAG, TRIAL_TAG, RunFields
from service.tracking.run_names import run_name
from service.tracking.versions import version_tags
from workers.spec.expand import objective
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec
from workers.tasks.dataset_info import DatasetTask

PARENT_TAG = "mlflow.parentRunId"
"""The tag of a trial's run that makes MLflow show it under the run of its sweep."""
POINT_TAG, REPEAT_TAG = "spectral.point", "spectral.repeat"
"""The tags of a trial's run with the number of its point, and with its place among the trials of the point."""
USER_TAGS = "spectral.tags"
"""The tag of a sweep's run with the tags that users gave the sweep, with commas between."""
NOTE_LENGTH = 5_000
"""A description is cut after this many characters."""
_SOURCE_TAGS = {"mlflow.source.name": "spectral", "mlflow.source.type": "JOB"}
_PARTS = ("task", "model", "training")


def of_sweep(sweep: Sweep, spec: SweepSpec, page: str | None) -> RunFields:
    """Return the fields of a sweep's own run: what its trials have in common, and what is searched.

    Args:
        sweep: The sweep's row.
        spec: Its document.
        page: The address of the service's page; None if it is not known.
    """
    goal = objective(spec)
    tags = {SWEEP_TAG: sweep.id, "spectral.kind": "sweep", **_common_tags(sweep, spec)}
    if spec.tags:
        tags[USER_TAGS] = tags_text(spec.tags)
    link = f"[its page]({page}/#{sweep.id})" if page else f"`spectral show {sweep.id}`"
    tags[MLFLOW_RUN_NOTE] = (
        f"Sweep {sweep.id}: {sweep.trial_count} trials of task **{spec.task.name}**, ranked by "
        f"`{goal.metric}` ({goal.direction}); see {link}.\n\nThe runs of the trials are below this one. To rank them, "
        f"sort by the column `best/{goal.metric}`. `sweep.json` is the document that was submitted, and "
        "`leaderboard.json` the result."
    )
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
    for part in _PARTS:
        params |= {path: value for path, value in _fields(part, getattr(spec, part)).items() if path not in spec.space}
    for path, dimension in spec.space.items():
        params[f"space.{path}"] = str(dimension.model_dump_json(exclude_defaults=True))
    one = not isinstance(spec.task, DatasetTask) or f"task.{spec.task.dataset_field}" not in spec.space
    return RunFields(sweep.name, tags, params, [data_input(spec.task)] if one else [])


def of_trial(
    trial: Trial, spec: TrialSpec | None, sweep: Sweep, document: SweepSpec, parent_run: str, page: str | None
) -> RunFields:
    """Return the fields of a trial's run.

    Args:
        trial: The trial's row.
        spec: The trial's task, model and training, which become the parameters; None if the trial cannot be trained, so
            that the run gets its swept values only.
        sweep: The sweep's row.
        document: The sweep's document.
        parent_run: The sweep's run.
        page: The address of the service's page; None if it is not known.
    """
    tags = {
        SWEEP_TAG: trial.sweep_id,
        TRIAL_TAG: trial.id,
        PARENT_TAG: parent_run,
        "spectral.kind": "trial",
        **_common_tags(sweep, document),
    }
    if document.repeats > 1:
        tags |= {POINT_TAG: str(trial.number // document.repeats), REPEAT_TAG: str(trial.number % document.repeats)}
    name = run_name(trial.number, trial.params)
    link = f"[{sweep.name}]({page}/#{sweep.id})" if page else f"{sweep.name} ({sweep.id})"
    rows = [f"| {path} | {str(value).replace('|', '/')} |" for path, value in trial.params.items()]
    swept = "\n".join(["| swept field | value |", "|---|---|", *rows])
    tags[MLFLOW_RUN_NOTE] = f"Trial {trial.number} of sweep {link}.\n\n{swept}"[:NOTE_LENGTH]
    if spec is None:
        return RunFields(name, tags, {"trial": trial.number, **trial.params})
    tags["spectral.seed"] = str(spec.training.seed)
    return RunFields(name, tags, trial_params(spec), [data_input(spec.task)])


def tags_text(tags: Sequence[str]) -> str:
    """Return the value of ``USER_TAGS``."""
    return ", ".join(sorted(tags))


def trial_params(spec: TrialSpec) -> dict[str, Any]:
    """Return the fields of a trial's task, model and training by path, with defaults, and its numbers of parameters.

    Fields that are None, because they do not apply, are left out. The numbers of reflectors on the two sides are given
    apart only if they differ, so that no number stands there twice.
    """
    found: dict[str, Any] = {"trial": spec.number}
    for part in _PARTS:
        found |= _fields(part, getattr(spec, part))
    if spec.model.reflected:
        for side in ("model.reflectors", "model.reflectors_u", "model.reflectors_v"):
            found.pop(side, None)
        u, v = spec.model.reflector_counts
        found |= {"model.reflectors": u} if u == v else {"model.reflectors_u": u, "model.reflectors_v": v}
    if spec.model.spectral:
        found |= {"model.margin": spec.model.band_margin, "model.sigma": spec.model.band_centre}
    parameters = count_parameters(spec.model, spec.task)
    found |= {"parameters.total": parameters.total, "parameters.recurrent": parameters.recurrent}
    return found


def _common_tags(sweep: Sweep, spec: SweepSpec) -> dict[str, str]:
    return {"spectral.task": spec.task.name, MLFLOW_USER: sweep.owner, **_SOURCE_TAGS, **version_tags()}


def _fields(part: str, values: Any) -> dict[str, Any]:
    """Return the fields of a part of a document by path, without those that are None and what is known of files."""
    dumped = values.model_dump(mode="json", exclude={"facts"})
    return {f"{part}.{name}": value for name, value in dumped.items() if value is not None}
