"""Writes one trial's outbox entries to its MLflow run: metrics, tags, images, and at its end checkpoints and models."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.store import checkpoints, reports
from service.store.database import Database
from service.store.tables import OutboxEntry, Sweep, Trial, TrialReport
from service.tracking import trial_images
from service.tracking.checkpoint_check import problem_of
from service.tracking.mlflow_runs import MODEL_TAG, RunMetrics, Runs
from service.tracking.trial_metrics import best_at_end, best_so_far, scalars
from service.tracking.trial_models import chosen, log_models
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Projected:
    """What became of a trial's entries.

    Attributes:
        lacks: What MLflow lacks of the trial once it has ended, and why; None if nothing, or if it has not ended.
        model_id: The logged model of its best checkpoint; None if there is none.
    """

    lacks: str | None = None
    model_id: str | None = None


class TrialProjection:
    """Writes the outbox entries of one trial to its run.

    Several trials may be written at once: the class only reads the database, and only writes to the trial's run.

    Args:
        database: The database, which has the trial's reports and checkpoints.
        runs: The service's runs in MLflow.
        sweep: The sweep's row.
        document: The sweep's document.
        trial: The trial's row.
        spec: The trial's task, model and training; None if it cannot be trained.
        run_id: The trial's run.
    """

    def __init__(
        self,
        database: Database,
        runs: Runs,
        sweep: Sweep,
        document: SweepSpec,
        trial: Trial,
        spec: TrialSpec | None,
        run_id: str,
    ) -> None:
        self._database, self._runs, self._sweep, self._document = database, runs, sweep, document
        self._trial, self._spec, self._run_id = trial, spec, run_id

    def project(self, entries: Sequence[OutboxEntry]) -> Projected:
        """Write entries, in order of id. Repeating it with the same entries changes nothing.

        Checkpoints are only named in a tag until the trial ends; then the best and the last one are copied, the kept
        ones of a trial that succeeded are logged as models, and the run is ended.

        Raises:
            RunDeleted: If the run is in MLflow's trash.
            RunGone: If MLflow no longer has the run.
            ExperimentDeleted: If the run's experiment is in MLflow's trash.
        """
        metrics = [entry.payload for entry in entries if entry.kind == "metrics"]
        points: list[RunMetrics] = [(told["step"], told["at"], scalars(told["values"])) for told in metrics]
        written = [entry.payload for entry in entries if entry.kind == "checkpoint"]
        tags: dict[str, Any] = {"spectral.checkpoint": written[-1]["path"]} if written else {}
        end = next((entry.payload for entry in entries if entry.kind == "ended"), None)
        done = Projected()
        if end:
            uploaded, done = self._upload(end["state"])
            tags |= uploaded | {"spectral.state": end["state"], "spectral.reason": end["reason"]}
        elif any(entry.kind == "reopened" for entry in entries):
            self._runs.reopen(self._run_id)
        tags |= self._draw({told["step"] for told in metrics if trial_images.has_array(told["values"])}, end)
        points += self._best(any(told["best"] for told in written), end)
        self._runs.log(self._run_id, points, tags)
        if end:
            self._runs.end(self._run_id, end["state"], end["at"])
        return done

    def _best(self, improved: bool, end: dict[str, Any] | None) -> list[RunMetrics]:
        """Return the metrics at the step of the best checkpoint, if there is a new one or if the trial has ended."""
        if self._trial.best_step is None or not (improved or end):
            return []
        with self._database.read() as session:
            found = reports.of_checkpoints(session, self._trial.id, [self._trial.best_step])
        step = self._trial.best_step
        point = best_at_end(found, step, end["state"], end["at"]) if end else best_so_far(found, step)
        return [point] if point else []

    def _draw(self, steps: set[int], end: dict[str, Any] | None) -> dict[str, str]:
        """Write the images that are due, and at the end of a trial that succeeded all of its arrays.

        Args:
            steps: The steps of the reports to be written that have an array.
            end: The payload of the entry with the trial's end; None if it has not ended.

        Returns:
            A tag for the run if it has images.
        """
        many, succeeded = self._sweep.trial_count > trial_images.LIVE_TRIALS, end and end["state"] == "succeeded"
        if self._spec is None or not (succeeded or (steps and not many)):
            return {}
        with self._database.read() as session:
            told = reports.of_trial(session, self._trial.id)
        found = [report for report in told if trial_images.has_array(report.values)]
        due = [r for r in trial_images.looks(found, self._spec.training.steps) if r.step in steps and not many]
        if succeeded:
            due += [report for report in found[-1:] if report not in due]
        if not due:
            return {}
        run = self._runs.get(self._run_id)
        with tempfile.TemporaryDirectory() as folder:
            with trial_images.DRAWING:
                for report in due:
                    trial_images.write_images(Path(folder), self._trial.id, report, self._spec)
            self._runs.copy(run, folder, trial_images.FOLDER)
        if succeeded:
            content = trial_images.arrays(found, self._spec)
            self._runs.write_json(self._run_id, content, trial_images.ARRAYS)
        return {trial_images.LOGGED_IMAGES: "True"}

    def _upload(self, state: str) -> tuple[dict[str, Any], Projected]:
        """Copy an ended trial's checkpoints to its run, and log models if it succeeded.

        A checkpoint that cannot be used is left out.

        Returns:
            Tags for the run: the objective, the best step and the models; and what became of the trial.
        """
        with self._database.read() as session:
            best = checkpoints.find(session, self._trial.id, "best")
            last = checkpoints.find(session, self._trial.id, "last")
            there = checkpoints.there(session, [self._trial.id]).get(self._trial.id, [])
            told: list[TrialReport] = []
            if state == "succeeded":
                told = reports.of_checkpoints(session, self._trial.id, [checkpoint.step for checkpoint in there])
        run = self._runs.get(self._run_id)
        problems: dict[str, str | None] = {}
        for which, checkpoint in (("best", best), ("last", last)):
            if checkpoint is not None:
                problems[checkpoint.path] = problem = problem_of(Path(checkpoint.path))
                if problem is None:
                    self._runs.copy(run, checkpoint.path, f"checkpoints/{which}")
                else:
                    log.warning(
                        "MLflow gets no copy of the %s checkpoint of trial %s: %s", which, self._trial.id, problem
                    )
        own = self._trial
        tags: dict[str, Any] = {"spectral.objective": own.objective, "spectral.best_step": own.best_step}
        source = best or last
        if state != "succeeded" or not self._spec or not source:
            return tags, Projected()
        first = next((checkpoint for checkpoint in there if checkpoint.step == source.step), source)
        kept = chosen(self._document.checkpoints, there, first)
        models = log_models(self._runs, run, self._sweep, self._trial, self._spec, kept, told)
        model_id = models.get(MODEL_TAG)
        problem = problems[source.path] if model_id is None else None
        lacks = f"its model was not logged: {problem}" if problem else None
        return tags | models, Projected(lacks, model_id)
