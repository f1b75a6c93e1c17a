"""The MLflow experiments that hold the service's runs: found by name or id, created, and restored from the trash."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Experiment, LifecycleStage

EARLIER = "spectral"
"""The experiment of all sweeps that releases up to 0.2 began."""
OURS = "spectral.sweeps"
"""The tag of an experiment in which sweeps of this service have begun."""
TAGS = {"mlflow.experimentKind": "custom_model_development", OURS: "true"}
"""The tags of such an experiment. The first makes MLflow's page open it at its training runs; else the page guesses."""
MISSING = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's error code for a run, an experiment or a model that it does not have."""
TAKEN = "RESOURCE_ALREADY_EXISTS"
"""MLflow's error code for a name that an experiment, a registered model or a prompt has already."""


class ExperimentDeleted(RuntimeError):
    """The experiment in which a run was to be written is in MLflow's trash, or MLflow has it no longer.

    Attributes:
        experiment_id: The experiment.
    """

    def __init__(self, experiment_id: str) -> None:
        self.experiment_id = experiment_id
        super().__init__(f"experiment {experiment_id} was deleted in MLflow")


class Experiments:
    """Finds, creates and restores experiments on one MLflow server.

    Args:
        client: The client of the server.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def get(self, experiment_id: str) -> Experiment | None:
        """Return an experiment, also one in MLflow's trash; None if MLflow does not have it."""
        try:
            return self._client.get_experiment(experiment_id)
        except MlflowException as error:
            if error.error_code == MISSING:
                return None
            raise

    def is_active(self, experiment_id: str) -> bool:
        """Return whether MLflow has an experiment, and not in its trash."""
        found = self.get(experiment_id)
        return found is not None and not is_deleted(found)

    def named(self, name: str) -> Experiment:
        """Return the experiment of this name, which may be in MLflow's trash. It is created if MLflow has none."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return self._create(name)
        if not is_deleted(found):
            for key, value in TAGS.items():
                if key not in found.tags:
                    self._client.set_experiment_tag(found.experiment_id, key, value)
        return found

    def of_earlier_releases(self) -> Experiment | None:
        """Return the experiment of sweeps that an earlier release began; None if MLflow has none, or in its trash."""
        found = self._client.get_experiment_by_name(EARLIER)
        return None if found is None or is_deleted(found) else found

    def ours(self) -> list[str]:
        """Return the ids of all experiments in which sweeps of this service have begun, without those in the trash."""
        earlier = self.of_earlier_releases()
        found = {earlier.experiment_id} if earlier else set()
        token: str | None = None
        while True:
            page = self._client.search_experiments(filter_string=f"tags.`{OURS}` = 'true'", page_token=token)
            found |= {experiment.experiment_id for experiment in page}
            token = page.token
            if not token:
                return sorted(found)

    def _create(self, name: str) -> Experiment:
        try:
            return self._client.get_experiment(self._client.create_experiment(name, tags=TAGS))
        except MlflowException as error:
            # another controller made it at this moment, or an earlier call whose reply was lost
            found = self._client.get_experiment_by_name(name) if error.error_code == TAKEN else None
            if found is None:
                raise
            return found

    def restore(self, experiment_id: str, deleted_runs: Sequence[str]) -> None:
        """Restore an experiment from MLflow's trash, and delete again the runs that had been deleted before it.

        MLflow restores all runs together with their experiment.

        Args:
            experiment_id: The experiment.
            deleted_runs: The runs that were deleted each on its own; those that MLflow has purged are left out.
        """
        try:
            self._client.restore_experiment(experiment_id)
        except MlflowException:
            # if only the reply was lost, nobody would delete the runs again
            if not self.is_active(experiment_id):
                raise
        for run_id in deleted_runs:
            try:
                self._client.delete_run(run_id)
            except MlflowException as error:
                if error.error_code != MISSING:
                    raise


def is_deleted(experiment: Experiment) -> bool:
    """Return whether an experiment is in MLflow's trash."""
    return bool(experiment.lifecycle_stage == LifecycleStage.DELETED)
