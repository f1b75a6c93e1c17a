"""Writes one sweep's outbox entries to MLflow: its trials in batches, then the sweep, so that a rerun is harmless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pydantic import ValidationError

from service.states import SWEEP_ENDED
from service.store import outbox, projections, sweeps, trials
from service.store.database import Database
from service.store.tables import OutboxEntry
from service.tracking import plain_models, run_fields, sweep_results
from service.tracking.mlflow_experiments import ExperimentDeleted
from service.tracking.mlflow_runs import RunMissing, Runs
from service.tracking.results_projection import project_results, read_and_plot
from service.tracking.sweep_results import SweepResults
from service.tracking.sweep_runs import SweepRuns
from service.tracking.trial_images import DRAWING
from service.tracking.trial_projection import Projected, TrialProjection
from workers.spec.sweep import SweepSpec

THREADS = 4
"""How many trials are written at the same time. MLflow handles few calls at once, but should not wait for us."""
BATCH = 16
"""The number of trials whose entries are removed from the outbox together, once all of them have been written.

A process that ends waits for one batch at most."""
DOCUMENT = "sweep.json"
"""The artifact of a sweep's run with the document that was submitted."""
DELETED = "its run was deleted in MLflow before it had everything; once it is restored there, it gets the rest"
ALL_DELETED = (
    "all of its runs were deleted in MLflow before they had everything; once they are restored there, they get the rest"
)


class InvalidStoredSweep(RuntimeError):
    """A sweep that cannot be written to MLflow, because its stored document is not valid in this version."""


class SweepProjection:
    """Writes outbox entries of one sweep, and of its trials, to MLflow, and removes them from the outbox.

    Args:
        database: The service's database.
        term: The leadership term, checked with every write.
        runs: The service's runs in MLflow.
        sweep_id: The sweep.

    Raises:
        InvalidStoredSweep: If the sweep's stored document is not valid in this version.
        NotFound: If there is no such sweep.
    """

    def __init__(self, database: Database, term: int, runs: Runs, sweep_id: str) -> None:
        self._database, self._term, self._runs, self._sweep_id = database, term, runs, sweep_id
        with database.read() as session:
            self._sweep = sweeps.get(session, sweep_id)
        try:
            self._spec = SweepSpec.model_validate(self._sweep.spec)
        except ValidationError as error:
            raise InvalidStoredSweep(" ".join(str(error).split())[:300]) from None
        self._sweep_runs = SweepRuns(database, term, runs, self._sweep, self._spec)

    def project(self, entries: Sequence[OutboxEntry]) -> None:
        """Write entries to MLflow, and remove them from the outbox.

        Trials come first and the sweep comes last, because the sweep's results refer to the runs of its trials. The
        entries of a batch of trials are removed after the batch, those of the sweep itself at the end. The first error
        of a trial is raised after the others have been tried, up to a batch in which all fail; the entries that were
        not written then stay in the outbox.

        Entries of deleted runs are removed without being written, and the database notes what MLflow lacks. If a run
        or the experiment turns out to be missing, it is noted or restored, and the entries stay for the next call.

        Args:
            entries: The sweep's entries, in order of id.

        Raises:
            LeadLost: If another controller leads by now.
        """
        try:
            self._project(self._without_deleted(entries))
        except RunMissing as error:
            self._sweep_runs.note_missing(error)
        except ExperimentDeleted as error:
            self._sweep_runs.restore_experiment(error)

    def _project(self, entries: Sequence[OutboxEntry]) -> None:
        by_trial: dict[str | None, list[OutboxEntry]] = {}
        for entry in entries:
            by_trial.setdefault(entry.trial_id, []).append(entry)
        own = by_trial.pop(None, [])
        parent = self._sweep_runs.parent() if own or (by_trial and self._is_open) else None
        end = next((entry.payload for entry in own if entry.kind == "ended"), None)
        if parent and any(entry.kind == "sweep" for entry in own):
            self._runs.write_json(parent, self._sweep.spec, DOCUMENT)
        tagged = next((entry.payload["tags"] for entry in reversed(own) if entry.kind == "tags"), None)
        if parent and tagged is not None:
            self._runs.log(parent, [], {run_fields.USER_TAGS: run_fields.tags_text(tagged)})
        if parent and not end and any(entry.kind == "reopened" for entry in own):
            self._runs.reopen(parent)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="mlflow") as pool:
            # the plots are drawn while MLflow takes the last trials
            results = pool.submit(self._read_and_plot) if end else None
            plain = pool.submit(plain_models.of_best, self._database, self._sweep_id) if end else None
            errors: list[BaseException] = []
            for batch in _batches(list(by_trial.values()), BATCH):
                failed = self._project_trials(pool, batch)
                errors += failed
                if len(failed) == len(batch):
                    break  # MLflow itself may fail, and each further call may take until its time limit
            missing = [error for error in errors if isinstance(error, RunMissing)]
            for error in missing:
                self._sweep_runs.note_missing(error)
            if len(errors) > len(missing):
                raise next(error for error in errors if not isinstance(error, RunMissing))
            if missing:
                return  # what is left is written by the next call
            if results and plain and end:
                self._sweep_runs.remove_duplicates()
                lacks = project_results(self._runs, self._sweep_runs, end, *results.result(), plain.result())
                self._note_lack(self._sweep_id, lacks)
        self._remove(own)

    def _read_and_plot(self) -> tuple[SweepResults, dict[str, bytes]]:
        with DRAWING:
            return read_and_plot(self._database, self._sweep_id)

    def _without_deleted(self, entries: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
        """Remove the entries of deleted runs from the outbox, and return the others."""
        runs = self._sweep_runs
        if runs.all_deleted:
            self._note_lack(self._sweep_id, ALL_DELETED)
            self._remove(entries)
            return []
        deleted = {entry.trial_id for entry in entries if entry.trial_id and runs.is_deleted(entry.trial_id)}
        for trial_id in deleted:
            self._note_lack(trial_id, DELETED)
        self._remove([entry for entry in entries if entry.trial_id in deleted])
        return [entry for entry in entries if entry.trial_id not in deleted]

    def _project_trials(self, pool: ThreadPoolExecutor, batch: list[list[OutboxEntry]]) -> list[BaseException]:
        """Write the entries of several trials at once, one list for each trial, and remove those that were written.

        Returns:
            The errors of the trials that failed, after all others have been tried.
        """
        started: dict[str, Future[Projected]] = {}
        for entries in batch:
            trial_id = entries[0].trial_id
            assert trial_id is not None
            with self._database.read() as session:
                trial = trials.get(session, trial_id)
            spec = sweep_results.resolved(self._spec, trial)
            # runs are created here, one after the other: the threads share no state but MLflow's
            run_id = self._sweep_runs.child(trial, spec)
            if not self._sweep_runs.is_deleted(trial_id):
                projection = TrialProjection(self._database, self._runs, self._sweep, self._spec, trial, spec, run_id)
                started[trial_id] = pool.submit(projection.project, entries)
        wait(started.values())
        failed = {trial_id: error for trial_id, future in started.items() if (error := future.exception())}
        written = [entry for entries in batch for entry in entries if entry.trial_id in started.keys() - failed.keys()]
        for entry in written:
            if entry.kind == "ended":
                self._note(str(entry.trial_id), started[str(entry.trial_id)].result())
        self._remove(written)
        return list(failed.values())

    @property
    def _is_open(self) -> bool:
        with self._database.read() as session:
            return sweeps.get(session, self._sweep_id).state not in SWEEP_ENDED

    def _note(self, trial_id: str, done: Projected) -> None:
        """Store what MLflow has and lacks of an ended trial."""
        self._note_lack(trial_id, done.lacks)
        self._sweep_runs.note_model(trial_id, done.model_id)

    def _note_lack(self, subject: str, lacks: str | None) -> None:
        """Store what MLflow lacks of the sweep or a trial, if that is not stored already."""
        with self._database.read() as session:
            row = projections.get(session, subject)
        if row is not None and row.lacks != lacks:
            with self._database.write(self._term) as session:
                projections.note_lack(session, subject, lacks)

    def _remove(self, entries: Sequence[OutboxEntry]) -> None:
        if entries:
            with self._database.write(self._term) as session:
                outbox.remove(session, [entry.id for entry in entries])


def _batches(trials: list[list[OutboxEntry]], size: int) -> Iterator[list[list[OutboxEntry]]]:
    return (trials[start : start + size] for start in range(0, len(trials), size))
