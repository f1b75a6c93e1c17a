"""A sweep that is trained step by step as far as the database knows, and what MLflow has of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from service.controller import sweep_lifecycle
from service.states import TrialState
from service.store import checkpoints, components, outbox, projections, reports, trials
from service.store.database import Database
from service.store.tables import Component, Projection, Sweep, Trial, TrialCheckpoint
from service.tracking.projector import Projector
from workers.checkpoints import CheckpointFolder
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec
from workers.training.training_state import TrainingState


class SweepStory:
    """A running sweep with its trials.

    The later a trial's number, the better its results; they get better with each step.
    """

    def __init__(self, database: Database, sweep: Sweep, client: MlflowClient, folder: Path) -> None:
        self._database, self._client, self._folder = database, client, folder
        self.id, self.spec = sweep.id, SweepSpec.model_validate(sweep.spec)
        with database.write() as session:
            sweep_lifecycle.expand(session, sweep.id, self.spec)
            for trial in trials.page(session, sweep.id):
                trials.move(session, trial, "running")
        self.trials = [f"{sweep.id}-{number:04d}" for number in range(sweep.trial_count)]

    def report(self, step: int, *numbers: int) -> None:
        """Some trials, or all, report metrics and a checkpoint at a step."""
        with self._database.write() as session:
            for number in numbers or range(len(self.trials)):
                trial = session.get_one(Trial, self.trials[number])
                loss = 1.0 / (step + number)
                new = reports.add(session, trial.id, [(step, {"val/loss": loss})], at=1000.0 + step)
                outbox.trial_metrics(session, self.id, new)
                path = str(self.checkpoint(number, step))
                found = TrialCheckpoint(trial_id=trial.id, step=step, path=path, best=True, objective=loss)
                if checkpoints.add(session, found):
                    outbox.checkpoint_written(session, self.id, found)
                trial.objective, trial.best_step, trial.step = loss, step, step

    def end(self, *numbers: int, state: TrialState = "succeeded") -> None:
        """Some trials, or all, end in a state; the sweep ends with the last of them."""
        with self._database.write() as session:
            for number in numbers or range(len(self.trials)):
                trials.move(session, session.get_one(Trial, self.trials[number]), state)
            sweep_lifecycle.settle(session, self.id)

    def checkpoint(self, number: int, step: int) -> Path:
        """Return the folder of a trial's checkpoint, and write it if it is not there."""
        trial_folder = self._folder / "checkpoints" / self.trials[number]
        if not (trial_folder / f"step-{step:09d}").exists():
            with self._database.read() as session:
                params = session.get_one(Trial, self.trials[number]).params
            state = TrainingState.start(plan_trial(self.spec, number, params).require_spec())
            state.step = step
            state.save(CheckpointFolder(trial_folder, state.spec))
        return trial_folder / f"step-{step:09d}"

    def row(self, subject: str) -> Projection | None:
        """Return what the database knows of the run of the sweep or of a trial."""
        with self._database.read() as session:
            return projections.get(session, subject)

    @property
    def waits(self) -> bool:
        """Whether anything of the sweep waits to be written."""
        with self._database.read() as session:
            return any(entry.sweep_id == self.id for entry in outbox.oldest(session, 10_000))

    def runs(self, subject: str) -> list[Run]:
        """Return MLflow's runs of the sweep itself or of a trial, in all experiments, also those in the trash."""
        experiments = self._client.search_experiments(view_type=ViewType.ALL)
        query = f"tags.`spectral.sweep_id` = '{self.id}'"
        found = self._client.search_runs([e.experiment_id for e in experiments], query, ViewType.ALL)
        return [run for run in found if run.data.tags.get("spectral.trial_id", self.id) == subject]

    def run(self, subject: str) -> Run:
        """Return the only run of the sweep itself or of a trial."""
        (run,) = self.runs(subject)
        return run

    def steps(self, subject: str) -> list[int]:
        """Return the steps whose loss the run of a trial has, each as often as it has it."""
        history = self._client.get_metric_history(self.run(subject).info.run_id, "val/loss")
        return sorted(metric.step for metric in history)

    def is_whole(self, *steps: int) -> bool:
        """Return whether MLflow has all of the ended sweep: every run, step, result and model."""
        own = self.run(self.id)
        told = [self.run(trial) for trial in self.trials]
        return (
            not self.waits
            and {run.info.status for run in (own, *told)} == {"FINISHED"}
            and {run.info.lifecycle_stage for run in (own, *told)} == {"active"}
            and {run.data.tags["mlflow.parentRunId"] for run in told} == {own.info.run_id}
            and all(self.steps(trial) == list(steps) for trial in self.trials)
            and {"leaderboard.json", "plots"} <= {f.path for f in self._client.list_artifacts(own.info.run_id)}
            and all(self.has_model(run) for run in told)
            and own.data.tags["spectral.best_run"] == told[-1].info.run_id
            and [version.run_id for version in self.versions()].count(told[-1].info.run_id) == 1
            and all(self.lacks(subject) is None for subject in (self.id, *self.trials))
        )

    def has_model(self, run: Run) -> bool:
        """Return whether the model that a run names is there with its files."""
        model_id = run.data.tags.get("spectral.model_id")
        return model_id is not None and len(self._client.list_logged_model_artifacts(model_id)) > 0

    def versions(self) -> list[Any]:
        """Return the versions in the model registry that come from this sweep."""
        found = self._client.search_model_versions(f"tags.`spectral.sweep_id` = '{self.id}'")
        return list(found)

    def lacks(self, subject: str) -> str | None:
        """Return what MLflow lacks of the sweep itself or of a trial, in words."""
        row = self.row(subject)
        return row.lacks if row else None


Stories = Callable[[], SweepStory]


def purge(client: MlflowClient, *run_ids: str) -> None:
    """Remove runs for good, as ``mlflow gc`` does."""
    for run_id in run_ids:
        client._tracking_client.store._hard_delete_run(run_id)


def drain(projector: Projector, times: int = 4) -> None:
    """Write until two looks find nothing left, as a controller does; what is rejected is tried again at once."""
    idle = 0
    for _ in range(times):
        projector._rejected.retry_now()
        idle = 0 if projector._waiting(1) else idle + 1
        projector.drain()
        if idle == 2:
            return


def health(database: Database) -> Component:
    """Return what the service says of MLflow's health."""
    with database.read() as session:
        row = components.get(session, "mlflow")
    assert row is not None
    return row
