"""Writes one sweep's outbox entries to MLflow: its trials in batches, then the sweep, so that a rerun is harmless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from pydantic import ValidationError

from service.store import outbox, sweeps, trials
from service.store.database import Database
from service.store.tables import OutboxEntry
from service.tracking import sweep_results
from service.tracking.mlflow_runs import Runs
from service.tracking.results_projection import project_results, read_and_plot
from service.tracking.sweep_runs import SweepRuns
from service.tracking.trial_projection import project_trial
from workers.spec.sweep import SweepSpec

THREADS = 4
"""How many trials are written at the same time. MLflow handles few calls at once, but should not wait for us."""
BATCH = 16
"""The number of trials whose entries are removed from the outbox together, once all of them have been written.

A process that ends waits for one batch at most."""


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
            sweep = sweeps.get(session, sweep_id)
        try:
            self._spec = SweepSpec.model_validate(sweep.spec)
        except ValidationError as error:
            raise InvalidStoredSweep(" ".join(str(error).split())[:300]) from None
        self._sweep_runs = SweepRuns(database, term, runs, sweep, self._spec)

    def project(self, entries: Sequence[OutboxEntry]) -> None:
        """Write entries to MLflow, and remove them from the outbox.

        Trials come first and the sweep comes last, because the sweep's results refer to the runs of its trials. The
        entries of a batch of trials are removed after the batch, those of the sweep itself at the end. An error of a
        trial is raised after its batch; that trial's entries, and all later ones, then stay in the outbox.

        Args:
            entries: The sweep's entries, in order of id.

        Raises:
            RunGone: If MLflow no longer has a run that it had.
            LeadLost: If another controller leads by now.
        """
        by_trial: dict[str | None, list[OutboxEntry]] = {}
        for entry in entries:
            by_trial.setdefault(entry.trial_id, []).append(entry)
        own = by_trial.pop(None, [])
        self._sweep_runs.parent()
        end = next((entry.payload for entry in own if entry.kind == "ended"), None)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="mlflow") as pool:
            # the plots are drawn while MLflow takes the last trials
            results = pool.submit(read_and_plot, self._database, self._sweep_id) if end else None
            for batch in _batches(list(by_trial.values()), BATCH):
                self._project_trials(pool, batch)
            if results and end:
                project_results(self._runs, self._sweep_runs, end, *results.result())
        self._remove(own)

    def _project_trials(self, pool: ThreadPoolExecutor, batch: list[list[OutboxEntry]]) -> None:
        """Write the entries of several trials at once, one list for each trial, and remove those that were written.

        If trials fail, the error of the first one is raised, after all others have been tried.
        """
        started = []
        for entries in batch:
            assert entries[0].trial_id is not None
            with self._database.read() as session:
                trial = trials.get(session, entries[0].trial_id)
            spec = sweep_results.resolved(self._spec, trial)
            # runs are created here, one after the other: the threads share no state but MLflow's
            run_id = self._sweep_runs.child(trial, spec)
            written = pool.submit(project_trial, self._database, self._runs, trial, spec, run_id, entries)
            started.append((entries, written))
        wait([written for _, written in started])
        self._remove([entry for entries, written in started if not written.exception() for entry in entries])
        for _, written in started:
            written.result()

    def _remove(self, entries: Sequence[OutboxEntry]) -> None:
        if entries:
            with self._database.write(self._term) as session:
                outbox.remove(session, [entry.id for entry in entries])


def _batches(trials: list[list[OutboxEntry]], size: int) -> Iterator[list[list[OutboxEntry]]]:
    return (trials[start : start + size] for start in range(0, len(trials), size))
