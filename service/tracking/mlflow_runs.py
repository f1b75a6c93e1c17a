"""The calls to MLflow that concern any single run: create it, find it, log to it, end it, restore it. No database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from mlflow import MlflowClient, MlflowException
from mlflow.entities import DatasetInput, LifecycleStage, Metric, Param, Run, RunTag, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from service.tracking.mlflow_experiments import MISSING, ExperimentDeleted, Experiments


class RunFields(NamedTuple):
    """The name of a run, its tags and parameters by name, and the data sets that are its inputs."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    inputs: Sequence[DatasetInput] = ()


T = TypeVar("T")

SWEEP_TAG, TRIAL_TAG, MODEL_TAG = "spectral.sweep_id", "spectral.trial_id", "spectral.model_id"
MODELS_TAG = "spectral.models"
"""The tag of a trial's run with the logged model of each of its checkpoints, as ``FOLDER=MODEL``, with spaces."""
BATCH = 1_000
"""The largest number of metrics in one call to MLflow, which is MLflow's own limit."""
PARAM_BATCH = 100
"""The largest number of parameters in one call to MLflow."""
VALUE_LENGTH = 500
"""A parameter's text is cut after this many characters."""
SEARCHED = 1_000
"""The number of runs on one page of a search."""

STATUS = {
    "succeeded": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "pruned": "KILLED",
    "cancelled": "KILLED",
}
"""MLflow's status for each final state of a sweep or a trial."""


RunMetrics = tuple[int, float, Mapping[str, float]]
"""The (step, time, metrics by name) of one report; the time in seconds since 1970."""


class RunMissing(RuntimeError):
    """MLflow does not have a run that it had, or has it in its trash.

    Attributes:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"{self.PROBLEM} run {run_id}")

    PROBLEM = "MLflow lacks"


class RunDeleted(RunMissing):
    """A run is in MLflow's trash, and its experiment is not: somebody has deleted this run."""

    PROBLEM = "somebody has deleted in MLflow"


class RunGone(RunMissing):
    """MLflow no longer has a run that it had: it was wiped, or the run was purged."""

    PROBLEM = "MLflow no longer has"


@dataclass(frozen=True)
class TaggedRun:
    """A run that was found by its tags.

    Attributes:
        run_id: Its id.
        experiment_id: Its experiment.
        deleted: Whether it is in MLflow's trash.
        model_ids: The logged models that it names in its tags ``MODEL_TAG`` and ``MODELS_TAG``.
    """

    run_id: str
    experiment_id: str
    deleted: bool
    model_ids: frozenset[str] = frozenset()


class Runs:
    """Creates, finds, fills and ends the service's runs on one MLflow server.

    Every method that takes a run raises RunDeleted, RunGone or ExperimentDeleted if the run cannot be written to.

    Args:
        url: The address of the MLflow server.
        page: The address of the service's page, for links; None if it is not known.

    Attributes:
        client: The client of the server.
        experiments: The server's experiments.
        page: The address of the service's page, without a slash at its end; None if it is not known.
    """

    def __init__(self, url: str, page: str | None = None) -> None:
        self.client = MlflowClient(url)
        self.page = page.rstrip("/") if page else None
        self.experiments = Experiments(self.client)

    def of_sweep(self, experiment_ids: Sequence[str], sweep_id: str) -> dict[str, list[TaggedRun]]:
        """Return the runs that carry a sweep's tag, by the id of the trial, or of the sweep for its own run.

        MLflow's trash is searched too. Several runs of one subject are always in the same order, those in the trash
        last.
        """
        found: dict[str, list[TaggedRun]] = {}
        token: str | None = None
        while True:
            query = f"tags.`{SWEEP_TAG}` = '{sweep_id}'"
            page = self.client.search_runs(
                list(experiment_ids), query, ViewType.ALL, max_results=SEARCHED, page_token=token
            )
            for run in page:
                models = {run.data.tags.get(MODEL_TAG, ""), *models_of(run).values()} - {""}
                info = run.info
                tagged = TaggedRun(info.run_id, info.experiment_id, _is_deleted(run), frozenset(models))
                found.setdefault(run.data.tags.get(TRIAL_TAG, sweep_id), []).append(tagged)
            token = page.token
            if not token:
                return {s: sorted(runs, key=lambda run: (run.deleted, run.run_id)) for s, runs in found.items()}

    def among(self, experiment_ids: Sequence[str], run_ids: Sequence[str], *, deleted: bool) -> set[str]:
        """Return those of some runs that are in MLflow's trash, or those that MLflow has elsewhere.

        Args:
            experiment_ids: The experiments of the runs.
            run_ids: The runs, at most ``SEARCHED``.
            deleted: Whether to return the runs in the trash, or the others.
        """
        if not run_ids:
            return set()
        query = f"attributes.run_id IN ({', '.join(repr(run_id) for run_id in run_ids)})"
        view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
        return {run.info.run_id for run in self.client.search_runs(list(experiment_ids), query, view, SEARCHED)}

    def create(self, experiment_id: str, at: float, fields: RunFields) -> str:
        """Create a run and return its id; ``at`` is its start in seconds since 1970.

        Raises:
            ExperimentDeleted: If the experiment is in MLflow's trash, or MLflow has it no longer.
        """
        try:
            run = self.client.create_run(
                experiment_id, start_time=millis(at), tags=dict(fields.tags), run_name=fields.name
            )
        except MlflowException as error:
            if not self.experiments.is_active(experiment_id):
                raise ExperimentDeleted(experiment_id) from error
            raise
        run_id: str = run.info.run_id
        self._set_params(run_id, fields.params)
        self.log_inputs(run_id, fields.inputs)
        return run_id

    def complete(self, run_id: str, fields: RunFields) -> None:
        """Set a run's tags and inputs, and the parameters that it lacks: MLflow changes no parameter's value."""
        known = self.get(run_id).data.params
        self._set_params(run_id, {key: value for key, value in fields.params.items() if key not in known})
        self.log_inputs(run_id, fields.inputs)
        self.log(run_id, [], fields.tags)

    def _set_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Set parameters that a run does not have, each as text of at most ``VALUE_LENGTH`` characters."""
        rows = [Param(key, str(value)[:VALUE_LENGTH]) for key, value in params.items()]
        for start in range(0, len(rows), PARAM_BATCH):
            batch = rows[start : start + PARAM_BATCH]
            self.on(run_id, partial(self.client.log_batch, run_id, params=batch))

    def log(self, run_id: str, points: list[RunMetrics], tags: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of some reports to a run, and set tags.

        Repeating a call adds nothing, since MLflow keeps each (key, time, step, value) only once.

        Args:
            run_id: The run.
            points: The reports.
            tags: Tags by name; those whose value is None are left out.
        """
        rows = [Metric(key, value, millis(at), step) for step, at, values in points for key, value in values.items()]
        tagged = [RunTag(key, str(value)) for key, value in (tags or {}).items() if value is not None]
        for start in range(0, max(len(rows), len(tagged) > 0), BATCH):
            batch = rows[start : start + BATCH]
            self.on(run_id, partial(self.client.log_batch, run_id, batch, tags=tagged if start == 0 else []))

    def log_of_model(self, run_id: str, model_id: str, point: RunMetrics, dataset: tuple[str, str]) -> None:
        """Log the metrics of one report to a logged model of a run. Repeating a call adds nothing.

        Args:
            run_id: The run, which has these metrics already.
            model_id: The logged model.
            point: The report at the step of the model's checkpoint.
            dataset: The name and the digest of the data on which they were measured.
        """
        step, at, values = point
        name, digest = dataset
        rows = [Metric(key, value, millis(at), step, model_id, name, digest, run_id) for key, value in values.items()]
        for start in range(0, len(rows), BATCH):
            self.on(run_id, partial(self.client.log_batch, run_id, rows[start : start + BATCH]))

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Log data sets as inputs of a run. Repeating a call adds nothing."""
        if inputs:
            self.on(run_id, partial(self.client.log_inputs, run_id, list(inputs)))

    def end(self, run_id: str, state: str, at: float) -> None:
        """End a run.

        Args:
            run_id: The run.
            state: The final state of its sweep or trial, which ``STATUS`` turns into MLflow's status.
            at: When it ended, in seconds since 1970.
        """
        self.on(run_id, lambda: self.client.set_terminated(run_id, STATUS[state], millis(at)))

    def reopen(self, run_id: str) -> None:
        """Show a run that had ended as running again; its end stays the former one until it ends again."""
        self.on(run_id, partial(self.client.update_run, run_id, status="RUNNING"))

    def get(self, run_id: str) -> Run:
        """Return a run with its tags, parameters and metrics."""
        found: Run = self.on(run_id, partial(self.client.get_run, run_id))
        self._check(found)
        return found

    def remove_duplicate(self, run_id: str, kept: str) -> None:
        """Move a run to MLflow's trash that stands for the same as the run ``kept``, and say so in its tags.

        It is ended first, so that it is not shown as running if somebody restores it.
        """
        self.log(run_id, [], {"spectral.duplicate_of": kept})
        self.on(run_id, lambda: self.client.set_terminated(run_id, STATUS["cancelled"]))
        self.on(run_id, lambda: self.client.delete_run(run_id))

    def restore(self, run_id: str) -> None:
        """Restore a run from MLflow's trash."""
        self.on(run_id, partial(self.client.restore_run, run_id))

    def copy(self, run: Run, folder: str, path: str) -> None:
        """Copy the content of a local folder to the folder ``path`` of the run's artifacts."""
        repository = get_artifact_repository(run.info.artifact_uri, self.client.tracking_uri)
        repository.log_artifacts(folder, path)  # type: ignore[no-untyped-call]

    def write_json(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        """Write a document to a file of the run's artifacts, replacing the one that is there."""
        self.on(run_id, partial(self.client.log_dict, run_id, dict(content), name))

    def delete_artifacts(self, location: str) -> None:
        """Delete all artifacts at a location, such as that of a run; do nothing if there are none."""
        get_artifact_repository(location, self.client.tracking_uri).delete_artifacts()  # type: ignore[no-untyped-call]

    def on(self, run_id: str, call: Callable[[], T]) -> T:
        """Return what a call about a run returns.

        If MLflow refuses the call, MLflow is asked for the run: its error codes do not say whether the run is in the
        trash.

        Raises:
            RunGone: If MLflow no longer has the run.
            RunDeleted: If the run is in MLflow's trash, and its experiment is not.
            ExperimentDeleted: If the run's experiment is in MLflow's trash, or MLflow has it no longer.
            mlflow.MlflowException: If the call is refused for another reason.
        """
        try:
            return call()
        except MlflowException as error:
            try:
                found = self.client.get_run(run_id)
            except MlflowException as missing:
                if missing.error_code == MISSING:
                    raise RunGone(run_id) from error
                raise error from None
            self._check(found)
            raise

    def _check(self, run: Run) -> None:
        """Raise RunDeleted or ExperimentDeleted if a run is in MLflow's trash, alone or with its experiment."""
        if not _is_deleted(run):
            return
        if not self.experiments.is_active(run.info.experiment_id):
            raise ExperimentDeleted(run.info.experiment_id)
        raise RunDeleted(run.info.run_id)


def models_of(run: Run) -> dict[str, str]:
    """Return the logged models that a run names in its tag ``MODELS_TAG``, by the name of the checkpoint's folder."""
    pairs = (pair.partition("=") for pair in run.data.tags.get(MODELS_TAG, "").split())
    return {folder: model_id for folder, _, model_id in pairs}


def models_text(models: Mapping[str, str]) -> str:
    """Return the value of the tag ``MODELS_TAG`` that ``models_of`` reads."""
    return " ".join(f"{folder}={model_id}" for folder, model_id in models.items())


def _is_deleted(run: Run) -> bool:
    return bool(run.info.lifecycle_stage == LifecycleStage.DELETED)


def millis(at: float) -> int:
    """Return a time in seconds since 1970 as the whole milliseconds in which MLflow counts."""
    return round(at * 1000)
