"""Writes one sweep's outbox entries to MLflow, in an order that may be interrupted and repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from pydantic import ValidationError

from service.store import outbox
from service.store.database import Database
from service.store.tables import OutboxEntry, Sweep, Trial
from service.tracking import sweep_results
from service.tracking.mlflow_runs import Runs
from service.tracking.results_projection import project_results, read_and_plot
from service.tracking.sweep_runs import SweepRuns
from service.tracking.trial_projection import project_trial
from workers.spec.sweep import SweepSpec

THREADS = 4
"""Trials written at once. MLflow handles few calls at a time, but need not wait for us between two of them."""
BATCH = 16
"""Trials whose entries are removed together. A controller that is asked to end waits for one batch at most."""


class InvalidStoredSweep(RuntimeError):
    """A sweep that cannot be written to MLflow, because its stored document is not valid in this version."""


class SweepProjection:
    """One sweep's way to MLflow.

    Args:
        database: The service's database.
        term: The leadership term, checked with every write.
        runs: The service's runs in MLflow.
        sweep_id: The sweep.

    Raises:
        InvalidStoredSweep: The sweep's stored document is not valid.
    """

    def __init__(self, database: Database, term: int, runs: Runs, sweep_id: str) -> None:
        self._database, self._term, self._runs, self._sweep_id = database, term, runs, sweep_id
        with database.read() as session:
            sweep = session.get_one(Sweep, sweep_id)
        try:
            self._spec = SweepSpec.model_validate(sweep.spec)
        except ValidationError as error:
            raise InvalidStoredSweep(" ".join(str(error).split())[:300]) from None
        self._sweep_runs = SweepRuns(database, term, runs, sweep, self._spec)

    def project(self, entries: Sequence[OutboxEntry]) -> None:
        """Write the entries to MLflow, and remove each from the outbox as soon as MLflow has taken it.

        Trials come first and the sweep comes last, because the sweep's results refer to the runs of its trials.
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
        """Write a batch of trials at once. Raises the first trial's error, after the others have been written."""
        started = []
        for entries in batch:
            assert entries[0].trial_id is not None
            with self._database.read() as session:
                trial = session.get_one(Trial, entries[0].trial_id)
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
