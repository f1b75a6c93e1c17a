"""What MLflow has of a sweep."""

from __future__ import annotations

from collections import Counter

from mlflow import MlflowClient
from mlflow.entities import Run

from service.client import RestClient
from service.stack import Stack
from service.tracking.trial_metrics import BEST, scalars
from tests.waiting import until


class MlflowSide:
    """One sweep's runs: ``parent`` and ``children`` by trial number. Made once MLflow has all of the sweep."""

    def __init__(self, stack: Stack, client: RestClient, sweep_id: str) -> None:
        self.api = MlflowClient(stack.mlflow_url)
        self._client, self._sweep_id = client, sweep_id
        # MLflow is told of one sweep after another, and the stack may have several
        runs = until(self._complete, 300)
        self.parent = next(run for run in runs if run.data.tags["spectral.kind"] == "sweep")
        self.children = {
            int(run.data.params["trial"]): run for run in runs if run.data.tags["spectral.kind"] == "trial"
        }
        self.count = len(runs)

    def _complete(self) -> list[Run]:
        experiments = [experiment.experiment_id for experiment in self.api.search_experiments()]
        query = f"tags.`spectral.sweep_id` = '{self._sweep_id}'"
        runs = list(self.api.search_runs(experiments, query))
        over = [run for run in runs if run.data.tags["spectral.kind"] == "sweep" and run.info.status != "RUNNING"]
        return runs if over else []

    def assert_tells_what_the_api_tells(self) -> None:
        """Every value of every trial at every step, each exactly once, but for the cells of arrays."""
        for trial in self._client.trials(self._sweep_id):
            points = self._client.metrics(trial["id"])
            run = self.children[trial["number"]]
            found = Counter(
                (key, metric.step, metric.value)
                for key in run.data.metrics
                if not key.startswith(BEST)
                for metric in self.api.get_metric_history(run.info.run_id, key)
            )
            assert found == Counter(
                (key, point["step"], value) for point in points for key, value in scalars(point["values"]).items()
            )

    def artifacts(self, run: Run, path: str | None = None) -> set[str]:
        return {item.path for item in self.api.list_artifacts(run.info.run_id, path)}
