"""The thread that empties the outbox, sweep by sweep, and copes with an MLflow that is slow, down or wiped."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from typing import Any

import mlflow
import requests
from mlflow import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from service.background_work import lower_this_thread
from service.settings import ControllerSettings
from service.store import outbox, removals, sweeps
from service.store.database import Database, LeadLost
from service.store.errors import NotFound
from service.store.tables import OutboxEntry
from service.tracking import logged_models, run_removal
from service.tracking.deletions import Deletions
from service.tracking.error_words import broke_off, in_words
from service.tracking.mlflow_health import (
    NOTE_SECONDS,
    PROBE_SECONDS,
    HealthNotes,
    MlflowUnreachable,
    Probe,
    RejectedSweeps,
    next_pause,
)
from service.tracking.mlflow_runs import Runs
from service.tracking.sweep_projection import InvalidStoredSweep, SweepProjection

log = logging.getLogger(__name__)

LIMIT = 2_000
"""The largest number of entries that one ``drain`` reads from the outbox."""
PAUSE_SECONDS = 1.0
"""The pause, in seconds, between two reads of an outbox that was empty; ``wake`` ends it."""

LONGEST_WAIT_SECONDS = 2.0
"""The longest pause between two looks whether MLflow answers again; a look costs next to nothing."""
REMOVAL_PAUSE_SECONDS = 10.0
"""The pause, in seconds, after MLflow has failed to remove the runs of a deleted sweep."""

MLFLOW_ENVIRONMENT = {
    # MLflow's client repeats a POST whose reply was lost, although it may have been carried out
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
IGNORED_WARNINGS = (
    r"(?s).*Add type hints to the `predict` method",
    r"(?s).*An input example was not provided",
)
"""Advice on logging a model that does not apply: the signature is given, and an example is left out on purpose."""


class Projector:
    """Writes the outbox to MLflow in a thread of its own, from ``start`` until ``stop`` or the end of the term.

    On Linux the thread gives way to others of this machine, such as trainers and the controller's own one.

    Args:
        database: The service's database.
        settings: The controller's settings, of which ``mlflow_url`` is used.
        term: The leadership term, checked with every write to the database.
    """

    def __init__(self, database: Database, settings: ControllerSettings, term: int) -> None:
        self._database, self._url, self._term = database, settings.mlflow_url.rstrip("/"), term
        self._page = settings.public_url
        self._stop, self._woken = threading.Event(), threading.Event()
        self._reached_at = -NOTE_SECONDS
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._runs: Runs | None = None
        self._deletions: Deletions | None = None
        self._remove_after = 0.0
        self._probe = Probe(self._url)
        self._rejected = RejectedSweeps()
        self._health = HealthNotes(database, term, self._url, lambda: self._rejected.reasons, self._experiments)

    def start(self) -> None:
        """Start the thread. It can be started only once."""
        self._thread.start()

    def wake(self) -> None:
        """End the pause after an empty outbox, because an entry was added that should not wait.

        A pause because MLflow does not answer goes on.
        """
        self._woken.set()

    def stop(self) -> None:
        """Ask the thread to end after the sweep that it is writing, and wait for that at most ``PROBE_SECONDS``."""
        self._stop.set()
        self._woken.set()
        self._thread.join(timeout=PROBE_SECONDS)

    def _run(self) -> None:
        lower_this_thread()
        try:
            self._drain_repeatedly()
        finally:
            self._probe.close()

    def _drain_repeatedly(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stop.wait(0.0):
            more, failed = False, True
            try:
                more = self._drain_or_note()
                failed = self._health.is_down
            except LeadLost:
                return  # the controller's own loop logs it
            except SQLAlchemyError as error:
                log.warning("the outbox cannot be read; trying again: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("unexpected error while writing to MLflow; trying again")
            pause = next_pause(pause) if failed else PAUSE_SECONDS
            if self._health.is_down:
                pause = min(pause, LONGEST_WAIT_SECONDS)
            if failed:
                self._stop.wait(pause)
            elif not more:
                self._woken.wait(PAUSE_SECONDS)
            self._woken.clear()

    def _drain_or_note(self) -> bool:
        """Drain the outbox, or note in the database that MLflow does not answer. Raises what ``drain`` raises else."""
        try:
            return self.drain()
        except MlflowUnreachable as error:
            self._health.set_down(str(error))
            return False

    def drain(self) -> bool:
        """Write up to ``LIMIT`` entries of the outbox to MLflow, and remove the runs of sweeps that were deleted.

        Each sweep is written on its own: an error that only it has does not hold up the others. Its entries are then
        tried again after a pause, or, if its stored document is not valid, deleted.

        Returns:
            True if ``LIMIT`` entries were read, so that the outbox may hold more; False also after ``stop``.

        Raises:
            MlflowUnreachable: If MLflow does not answer.
            LeadLost: If another controller leads by now.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used.
        """
        recently = time.monotonic() - self._reached_at < NOTE_SECONDS
        if recently and not self._health.is_down and not self._waiting(1):
            return False
        self._reach()
        self._reached_at = time.monotonic()
        entries = self._waiting(LIMIT)
        by_sweep: dict[str, list[OutboxEntry]] = {}
        for entry in entries:
            by_sweep.setdefault(entry.sweep_id, []).append(entry)
        for sweep_id, of_sweep in by_sweep.items():
            if self._stop.is_set():
                return False
            self._project(sweep_id, of_sweep)
            self._health.write()
        self._remove_runs()
        self._health.write()
        return len(entries) == LIMIT

    def _experiments(self) -> dict[str, Any] | None:
        return self._deletions.experiments() if self._deletions else None

    def _waiting(self, limit: int) -> list[OutboxEntry]:
        with self._database.read() as session:
            return outbox.oldest(session, limit, self._rejected.pausing())

    def _project(self, sweep_id: str, entries: list[OutboxEntry]) -> None:
        assert self._runs is not None
        try:
            SweepProjection(self._database, self._term, self._runs, sweep_id).project(entries)
        except (LeadLost, SQLAlchemyError):
            raise
        except NotFound:
            # it was deleted after its entries had been read
            with self._database.write(self._term) as session:
                if sweeps.owner_of(session, sweep_id) is not None:
                    raise
                outbox.remove_all(session, sweep_id)
            self._rejected.remove(sweep_id)
        except InvalidStoredSweep as error:
            log.error(
                "sweep %s is not written to MLflow, because its stored document is not valid in this version: %s",
                sweep_id,
                error,
            )
            with self._database.write(self._term) as session:
                outbox.remove_all(session, sweep_id)
            self._rejected.remove(sweep_id)
        except Exception as error:
            if self._stop.is_set():
                return
            # if MLflow answers, the fault lies in this sweep alone, and the others go on
            self._probe.check()
            self._rejected.add(sweep_id, error)
        else:
            self._rejected.remove(sweep_id)

    def _remove_runs(self) -> None:
        """Remove the runs of the sweeps that were deleted, until the outbox has something to write.

        Raises:
            MlflowUnreachable: If MLflow does not answer.
        """
        assert self._runs is not None
        if time.monotonic() < self._remove_after:
            return
        with self._database.read() as session:
            due = [removed for removed in removals.pending(session) if removals.is_due(removed, removed.runs_at)]
        try:
            for removed in due:
                while run_removal.remove_some(self._runs, removed.experiments, removed.id):
                    if self._stop.is_set() or self._waiting(1):
                        return
                with self._database.write(self._term) as session:
                    removals.note_runs_gone(session, removed.id)
        except (MlflowException, requests.RequestException) as error:
            self._remove_after = time.monotonic() + REMOVAL_PAUSE_SECONDS
            self._probe.check()
            log.warning("the runs of sweep %s, which was deleted, stay for now: %s", removed.id, in_words(error))

    def _reach(self) -> None:
        """Check that MLflow answers, set up its client on the first call, and notice what was deleted or restored.

        Raises:
            MlflowUnreachable: If MLflow does not answer, or not with what it is asked for.
        """
        self._probe.check()
        if self._runs is None:
            os.environ.update(MLFLOW_ENVIRONMENT)
            for message in IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message)
            mlflow.set_tracking_uri(self._url)
            mlflow.set_registry_uri(self._url)
            logged_models.prepare()
            self._runs = Runs(self._url, self._page)
            self._deletions = Deletions(self._database, self._term, self._runs)
        try:
            self._look()
        except (MlflowException, requests.RequestException) as error:
            raise MlflowUnreachable(f"MLflow answers its health check, but {in_words(error)}") from error
        self._health.set_up()

    def _look(self) -> None:
        """Notice what was deleted or restored in MLflow; once more if the connection breaks off, since it only reads.

        A server may close a connection at the moment when it is used again.
        """
        assert self._deletions is not None
        for last in (False, True):
            try:
                self._deletions.check_experiments()
                self._deletions.check_runs()
                return
            except (MlflowException, requests.RequestException) as error:
                if last or not broke_off(error):
                    raise
