"""Runs in MLflow: found by tag before they are created, so that a word lost on the way never makes a second one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

EXPERIMENT = "spectral"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow's page open the experiment at its training runs; without, it guesses."""
SWEEP_TAG, TRIAL_TAG = "spectral.sweep_id", "spectral.trial_id"
BATCH = 1_000
"""Metrics per call, MLflow's own limit."""
PARAM_BATCH = 100
VALUE_LENGTH = 500
SEARCHED = 1_000

STATUS = {
    "succeeded": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "cancelled": "KILLED",
}  # fmt: skip


Look = tuple[int, float, Mapping[str, float]]
"""(step, time, values) of a report."""


class RunGone(RuntimeError):
    """MLflow does not know a run that it had: it was wiped, or the run was purged."""


class Runs:
    """The service's runs, all in one experiment."""

    def __init__(self, url: str) -> None:
        self.client = MlflowClient(url)
        self._experiment: str | None = None

    def experiment_exists(self) -> bool:
        """Whether MLflow knows the experiment; where it does not, it knows none of our runs."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            self._experiment = None
        return found is not None

    def experiment(self) -> str:
        """Its id; created, or restored from MLflow's trash, where need be."""
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
        """The runs that carry a sweep's tag, by sweep or trial id."""
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
        """A new run with its parameters; gives its id."""
        run = self.client.create_run(self.experiment(), start_time=millis(at), tags=dict(tags), run_name=name)
        run_id: str = run.info.run_id
        self.set_params(run_id, params)
        return run_id

    def set_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters cannot change in MLflow; the same again is no change."""
        rows = [Param(key, str(value)[:VALUE_LENGTH]) for key, value in params.items()]
        for start in range(0, len(rows), PARAM_BATCH):
            self.client.log_batch(run_id, params=rows[start : start + PARAM_BATCH])

    def log(self, run_id: str, points: list[Look], tags: Mapping[str, Any] | None = None) -> None:
        """Metrics as (step, time, values). MLflow keeps (key, time, step, value) once: the same again adds nothing.

        Tags whose value is None are left out.
        """
        rows = [Metric(key, value, millis(at), step) for step, at, values in points for key, value in values.items()]
        tagged = [RunTag(key, str(value)) for key, value in (tags or {}).items() if value is not None]
        for start in range(0, max(len(rows), len(tagged) > 0), BATCH):
            batch = rows[start : start + BATCH]
            self._known(run_id, partial(self.client.log_batch, run_id, batch, tags=tagged if start == 0 else []))

    def end(self, run_id: str, state: str, at: float) -> None:
        self._known(run_id, lambda: self.client.set_terminated(run_id, STATUS[state], millis(at)))

    def get(self, run_id: str) -> Run:
        found: Run = self._known(run_id, lambda: self.client.get_run(run_id))
        return found

    def copy(self, run: Run, folder: str, path: str) -> None:
        """A local folder into the run's artefacts, without asking anew where they are."""
        repository = get_artifact_repository(run.info.artifact_uri, self.client.tracking_uri)
        repository.log_artifacts(folder, path)  # type: ignore[no-untyped-call]

    @staticmethod
    def _known(run_id: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RunGone(f"MLflow does not know run {run_id} any more") from error
            raise


def millis(at: float) -> int:
    return round(at * 1000)
