"""Which MLflow runs one sweep has, a parent and a child for each trial: found in the database or MLflow, or created.

What somebody deletes in MLflow stays deleted, unless something else needs it:

- A trial's run in MLflow's trash stays there, and gets nothing until it is restored in MLflow.
- The sweep's own run is restored while more is written of the sweep: the runs of its trials are shown under it, and the
  leaderboard has no other place. It is not restored if the runs of all of its trials are deleted too.
- An experiment is restored when one of its runs is to be written.
- A run that is gone without having been seen in the trash was lost, and is written again.

A call that creates a run may be carried out although its reply is lost, even after it was given up. So a run is looked
for by its tags before it is created, and of several that stand for the same one is kept.
"""

from __future__ import annotations

import logging

from mlflow.entities import Experiment

from service.store import outbox, projections
from service.store.database import Database
from service.store.tables import Sweep, Trial
from service.tracking import logged_models, run_fields
from service.tracking.mlflow_experiments import ExperimentDeleted, is_deleted
from service.tracking.mlflow_runs import RunDeleted, RunFields, RunGone, RunMissing, Runs, TaggedRun
from service.tracking.run_fields import PARENT_TAG
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

RESTORED = {"spectral.restored": "deleted in MLflow while the sweep was written, and needed by the runs of its trials"}
"""The tag of a sweep's run that was restored."""


class SweepRuns:
    """Finds, creates and restores the MLflow runs of one sweep: a parent for the sweep and a child for each trial.

    It must be used by one thread only.

    Args:
        database: The database, in which the ids of the runs are kept.
        term: The leadership term, checked with every write.
        runs: The service's runs in MLflow.
        sweep: The sweep's row.
        spec: The sweep's document.
    """

    def __init__(self, database: Database, term: int, runs: Runs, sweep: Sweep, spec: SweepSpec) -> None:
        self._database, self._term, self._runs, self._sweep, self._spec = database, term, runs, sweep, spec
        with database.read() as session:
            self._rows = projections.of_sweep(session, sweep.id)
        self._tagged: dict[str, list[TaggedRun]] | None = None
        self._experiment: str | None = None

    def is_deleted(self, subject: str) -> bool:
        """Return whether the run of the sweep or of a trial, given by its id, is known to be deleted in MLflow."""
        return subject in self._rows and self._rows[subject].deleted

    @property
    def all_deleted(self) -> bool:
        """Whether the sweep's run and those of its trials, at least one of them, are all known to be deleted."""
        return self.is_deleted(self._sweep.id) and len(self._rows) > 1 and all(r.deleted for r in self._rows.values())

    def parent(self) -> str:
        """Return the id of the sweep's run. It is created if there is none, and restored if it is deleted."""
        if self.is_deleted(self._sweep.id):
            self._restore_parent()
        known = self._sweep.id in self._rows
        fields = run_fields.of_sweep(self._sweep, self._spec, self._runs.page)
        run_id = self._find_or_create(self._sweep.id, self._sweep.created_at, fields)
        if not known:
            self._move_children(run_id)
        if self.is_deleted(self._sweep.id):  # it was found by its tag, in the trash
            self._restore_parent()
        return run_id

    def child(self, trial: Trial, spec: TrialSpec | None) -> str:
        """Return the id of a trial's run, a child of the sweep's, which may be deleted. It is created if there is none.

        Args:
            trial: The trial's row.
            spec: The trial's task, model and training; None if it cannot be trained.
        """
        own = self._rows.get(self._sweep.id)
        parent = own.run_id if own else self.parent()
        fields = run_fields.of_trial(trial, spec, self._sweep, self._spec, parent, self._runs.page)
        return self._find_or_create(trial.id, trial.started_at or trial.created_at, fields)

    def note_model(self, trial_id: str, model_id: str | None) -> None:
        """Store the logged model of a trial's best checkpoint, unless it is None."""
        if model_id is not None:
            with self._database.write(self._term) as session:
                projections.note_model(session, trial_id, model_id)

    def note_missing(self, error: RunMissing) -> None:
        """Store that a run of this sweep is deleted, or have it written again if it is gone."""
        subject = next((subject for subject, row in self._rows.items() if row.run_id == error.run_id), None)
        if subject is None:
            return  # it was created, but not stored yet: the next search by tag finds it
        with self._database.write(self._term) as session:
            if isinstance(error, RunDeleted):
                projections.mark_deleted(session, [subject])
                self._rows[subject].deleted = True
            else:
                projections.drop_one(session, subject)
                outbox.refill_one(session, subject)
                del self._rows[subject]
        then = "it gets nothing until it is restored there" if self.is_deleted(subject) else "it is written again"
        log.warning("%s of %s; %s", error, subject, then)

    def restore_experiment(self, error: ExperimentDeleted) -> None:
        """Restore the experiment in which this sweep is to be written; do nothing if MLflow has it no longer."""
        found = self._runs.experiments.get(error.experiment_id)
        if found is None or not is_deleted(found):
            return
        with self._database.read() as session:
            deleted = projections.deleted_in(session, found.experiment_id)
        self._runs.experiments.restore(found.experiment_id, deleted)
        log.warning(
            "experiment %r was deleted in MLflow; it was restored with its runs, because sweep %s is written to it. "
            "Delete the runs that are not wanted, and not the experiment",
            found.name,
            self._sweep.id,
        )

    def remove_duplicates(self) -> None:
        """Move to MLflow's trash the runs of this sweep that stand for the same as one in the database.

        The logged models are deleted that the service made for the runs of this sweep, and that no run names.

        Raises:
            LeadLost: If another controller leads by now, which may have made those runs.
        """
        experiments = sorted({row.experiment_id for row in self._rows.values()})
        found = self._runs.of_sweep(experiments, self._sweep.id)
        with self._database.write(self._term) as session:
            kept = {subject: row.run_id for subject, row in projections.of_sweep(session, self._sweep.id).items()}
        for subject, tagged in found.items():
            for run in tagged:
                if subject in kept and run.run_id != kept[subject] and not run.deleted:
                    self._runs.remove_duplicate(run.run_id, kept[subject])
                    log.warning("MLflow had a second run of %s, %s; it was deleted", subject, run.run_id)
        named = {model_id for tagged in found.values() for run in tagged for model_id in run.model_ids}
        for model in logged_models.of_sweep(self._runs.client, experiments, self._sweep.id):
            if model.model_id not in named:
                self._runs.client.delete_logged_model(model.model_id)
                log.warning("MLflow had a second model of run %s, %s; deleted", model.source_run_id, model.model_id)

    def _restore_parent(self) -> None:
        row = self._rows[self._sweep.id]
        experiment = self._runs.experiments.get(row.experiment_id)
        if experiment is not None and is_deleted(experiment):
            raise ExperimentDeleted(row.experiment_id)
        try:
            self._runs.restore(row.run_id)
            self._runs.log(row.run_id, [], RESTORED)
        except RunGone:
            del self._rows[self._sweep.id]  # it was purged: another one takes its place
            return
        with self._database.write(self._term) as session:
            projections.mark_deleted(session, [self._sweep.id], deleted=False)
        row.deleted = False
        log.warning("run %s of %s was deleted in MLflow; restored, for its trials' runs", row.run_id, self._sweep.id)

    def _move_children(self, parent_run: str) -> None:
        """Show the trials' runs that there are under another run of the sweep."""
        for subject, row in list(self._rows.items()):
            if subject != self._sweep.id and not row.deleted:
                try:
                    self._runs.log(row.run_id, [], {PARENT_TAG: parent_run})
                except RunMissing as error:
                    self.note_missing(error)

    def _find_or_create(self, subject: str, started_at: float, fields: RunFields) -> str:
        """Return the id of a sweep's or trial's run: the one in the database, else one tagged in MLflow, or a new one.

        ``subject`` is the id of the sweep or trial.

        The search by tag finds a run that was created just before a crash, so that nothing gets two.
        """
        if subject not in self._rows:
            experiment_id = self._experiment_id()
            found = next(iter(self._tagged_runs(experiment_id).get(subject, [])), None)
            if found is None:
                run_id = self._runs.create(experiment_id, started_at, fields)
                found = TaggedRun(run_id, experiment_id, deleted=False)
            elif not found.deleted:
                self._runs.complete(found.run_id, fields)
            with self._database.write(self._term) as session:
                row = projections.put(session, subject, found.experiment_id, found.run_id, deleted=found.deleted)
            self._rows[subject] = row
        return self._rows[subject].run_id

    def _tagged_runs(self, experiment_id: str) -> dict[str, list[TaggedRun]]:
        """Return the runs that carry the sweep's tag in an experiment, or where an earlier release would have begun."""
        if self._tagged is None:
            earlier = self._runs.experiments.of_earlier_releases()
            searched = {experiment_id, *([earlier.experiment_id] if earlier else [])}
            self._tagged = self._runs.of_sweep(sorted(searched), self._sweep.id)
        return self._tagged

    def _experiment_id(self) -> str:
        """Return the experiment of the sweep's other runs, also if it was renamed.

        Without any it is that of a run which was created but not stored, or else the one that the sweep names.
        """
        if self._experiment is None:
            rows = [self._rows.get(self._sweep.id), *self._rows.values()]
            known = next((row.experiment_id for row in rows if row is not None and not row.deleted), None)
            found = self._runs.experiments.get(known) if known else None
            found = found or self._begun_elsewhere() or self._runs.experiments.named(self._spec.experiment_name)
            if is_deleted(found):
                raise ExperimentDeleted(found.experiment_id)
            self._experiment = found.experiment_id
        return self._experiment

    def _begun_elsewhere(self) -> Experiment | None:
        """Return the experiment of earlier releases if a run of the sweep lies there, which nobody has stored."""
        earlier = self._runs.experiments.of_earlier_releases()
        if earlier is None or earlier.name == self._spec.experiment_name:
            return None
        tagged = self._runs.of_sweep([earlier.experiment_id], self._sweep.id)
        return earlier if any(not run.deleted for runs in tagged.values() for run in runs) else None
