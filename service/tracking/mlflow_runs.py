"""The calls to MLflow that concern any single run: create it, find it by tag, log to it, end it. No database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

EXPERIMENT = "spectral"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's page open the experiment at its training runs; without it, the page guesses."""
SWEEP_TAG, TRIAL_TAG = "spectral.sweep_id", "spectral.trial_id"
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


class RunGone(RuntimeError):
    """MLflow no longer has a run that it had: it was wiped, or the run was purged."""


class Runs:
    """Creates, finds, fills and ends the service's runs on one MLflow server, all in the experiment ``spectral``.

    Args:
        url: The address of the MLflow server.
    """

    def __init__(self, url: str) -> None:
        self.client = MlflowClient(url)
        self._experiment: str | None = None

    def experiment_exists(self) -> bool:
        """Return whether MLflow has the experiment, also in its trash. If not, it has none of our runs either."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            self._experiment = None
        return found is not None

    def experiment(self) -> str:
        """Return the experiment's id; create it, or restore it from MLflow's trash, if necessary."""
        if self._experiment is None:
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is not None and found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            if found is None:
                self._experiment = self.client.create_experiment(EXPERIMENT, tags=KIND)
            else:
                self._experiment = found.experiment_id
                for key, value in KIND.items():
                    if key not in found.tags:
                        self.client.set_experiment_tag(found.experiment_id, key, value)
        return self._experiment

    def of_sweep(self, sweep_id: str) -> dict[str, str]:
        """Return the ids of the runs that carry a sweep's tag, by the id of the trial, or of the sweep for its own run.

        MLflow is searched; runs in its trash are not found.
        """
        found: dict[str, str] = {}
        token: str | None = None
        while True:
            query = f"tags.`{SWEEP_TAG}` = '{sweep_id}'"
            page = self.client.search_runs([self.experiment()], query, max_results=SEARCHED, page_token=token)
            for run in page:
                found[run.data.tags.get(TRIAL_TAG, sweep_id)] = run.info.run_id
            token = page.token
            if not token:
                return found

    def create(self, name: str, at: float, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Create a run with its parameters and return its id; ``at`` is its start in seconds since 1970."""
        run = self.client.create_run(self.experiment(), start_time=millis(at), tags=dict(tags), run_name=name)
        run_id: str = run.info.run_id
        self.set_params(run_id, params)
        return run_id

    def set_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Set a run's parameters, each as text of at most ``VALUE_LENGTH`` characters.

        Raises:
            mlflow.MlflowException: If a parameter has another value already; the same value again is accepted.
        """
        rows = [Param(key, str(value)[:VALUE_LENGTH]) for key, value in params.items()]
        for start in range(0, len(rows), PARAM_BATCH):
            self.client.log_batch(run_id, params=rows[start : start + PARAM_BATCH])

    def log(self, run_id: str, points: list[RunMetrics], tags: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of some reports to a run, and set tags.

        Repeating a call adds nothing, since MLflow keeps each (key, time, step, value) only once.

        Args:
            run_id: The run.
            points: The reports.
            tags: Tags by name; those whose value is None are left out.

        Raises:
            RunGone: If MLflow no longer has the run.
        """
        rows = [Metric(key, value, millis(at), step) for step, at, values in points for key, value in values.items()]
        tagged = [RunTag(key, str(value)) for key, value in (tags or {}).items() if value is not None]
        for start in range(0, max(len(rows), len(tagged) > 0), BATCH):
            batch = rows[start : start + BATCH]
            self._known(run_id, partial(self.client.log_batch, run_id, batch, tags=tagged if start == 0 else []))

    def end(self, run_id: str, state: str, at: float) -> None:
        """End a run.

        Args:
            run_id: The run.
            state: The final state of its sweep or trial, which ``STATUS`` turns into MLflow's status.
            at: When it ended, in seconds since 1970.

        Raises:
            RunGone: If MLflow no longer has the run.
        """
        self._known(run_id, lambda: self.client.set_terminated(run_id, STATUS[state], millis(at)))

    def get(self, run_id: str) -> Run:
        """Return a run with its tags, parameters and metrics; raise RunGone if MLflow no longer has it."""
        found: Run = self._known(run_id, lambda: self.client.get_run(run_id))
        return found

    def copy(self, run: Run, folder: str, path: str) -> None:
        """Copy the content of a local folder to the folder ``path`` of the run's artifacts."""
        repository = get_artifact_repository(run.info.artifact_uri, self.client.tracking_uri)
        repository.log_artifacts(folder, path)  # type: ignore[no-untyped-call]

    @staticmethod
    def _known(run_id: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RunGone(f"MLflow no longer has run {run_id}") from error
            raise


def millis(at: float) -> int:
    """Return a time in seconds since 1970 as the whole milliseconds in which MLflow counts."""
    return round(at * 1000)
