"""The thread that keeps MLflow up to date from the outbox. MLflow slow, down or wiped never holds up anything else."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from dataclasses import dataclass

import httpx
import mlflow
from sqlalchemy.exc import SQLAlchemyError

from service.settings import ControllerSettings
from service.store import components, outbox, projections
from service.store.database import Database, LeadLost
from service.store.tables import OutboxEntry
from service.tracking import logged_models
from service.tracking.mlflow_runs import RunGone, Runs
from service.tracking.sweep_projection import Telling, Untellable

log = logging.getLogger(__name__)

LIMIT = 2_000
"""Entries looked at in a turn."""
PAUSE_SECONDS = 1.0
NOTE_SECONDS = 3.0
"""Between two looks at MLflow, and two notes of how it is, where there is nothing to tell."""
LONGEST_PAUSE = 10.0
PROBE_SECONDS = 5.0

# MLflow's own retries would take minutes; ours know when MLflow is back. The rest keeps its chatter out of the log.
CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip


# of log_model, about what is given in another way or on purpose left out
ADVICE = (r"(?s).*Add type hints to the `predict` method", r"(?s).*An input example was not provided")


@dataclass
class _Sick:
    """A sweep that MLflow, though it is up, does not take."""

    until: float
    pause: float
    reason: str


class Projector:
    """``start`` and ``stop``; between them a thread of its own drains the outbox while the term leads.

    ``wake``: there is something that is not to wait for the end of a pause.
    """

    def __init__(self, database: Database, settings: ControllerSettings, term: int) -> None:
        self._database, self._url, self._term = database, settings.mlflow_url.rstrip("/"), term
        self._stop, self._woken = threading.Event(), threading.Event()
        self._http = httpx.Client(timeout=PROBE_SECONDS)  # a new one for each probe would load certificates each time
        self._reached_at = -NOTE_SECONDS
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._runs: Runs | None = None
        self._sick: dict[str, _Sick] = {}
        self._noted_at = 0.0
        self._down = ""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """Returns once the call to MLflow that is under way has ended, or after a while without it."""
        self._stop.set()
        self._woken.set()
        self._thread.join(timeout=PROBE_SECONDS)

    def _run(self) -> None:
        with self._http:
            self._drain_on()

    def _drain_on(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stop.wait(0.0):
            try:
                again = self.drain()
                pause = PAUSE_SECONDS
            except LeadLost:
                return  # the controller's own loop says so
            except MlflowUnreachable as error:
                self._say_down(str(error))
                again, pause = False, min(pause * 2, LONGEST_PAUSE)
            except SQLAlchemyError as error:
                log.warning("the outbox cannot be read, trying again: %s", str(error).splitlines()[0])
                again, pause = False, min(pause * 2, LONGEST_PAUSE)
            except Exception:
                log.exception("projecting to MLflow gave an error, trying again")
                again, pause = False, min(pause * 2, LONGEST_PAUSE)
            if self._down:
                self._stop.wait(pause)
            elif not again:
                self._woken.wait(PAUSE_SECONDS)
            self._woken.clear()

    def drain(self) -> bool:
        """Tell MLflow what the outbox holds, a turn's worth; True where there is more. Raises Unreachable."""
        if time.monotonic() - self._reached_at < NOTE_SECONDS and not self._down and not self._waiting(1):
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
            self._tell(sweep_id, of_sweep)
            self._note()
        self._note()
        return len(entries) == LIMIT

    def _waiting(self, limit: int) -> list[OutboxEntry]:
        now = time.monotonic()
        resting = [sweep_id for sweep_id, sick in self._sick.items() if sick.until > now]
        with self._database.read() as session:
            return outbox.oldest(session, limit, resting)

    def _tell(self, sweep_id: str, entries: list[OutboxEntry]) -> None:
        assert self._runs is not None
        try:
            Telling(self._database, self._term, self._runs, sweep_id).tell(entries)
        except (LeadLost, SQLAlchemyError):
            raise
        except Untellable as error:
            log.error("MLflow is not told of sweep %s, whose spec is not valid: %s", sweep_id, error)
            with self._database.write(self._term) as session:
                outbox.remove_all(session, sweep_id)
        except RunGone as error:
            log.warning("%s: sweep %s is told to it anew", error, sweep_id)
            self._refill(sweep_id)
        except Exception as error:
            if self._stop.is_set():
                return
            self._probe()
            self._rest(sweep_id, error)
        else:
            self._sick.pop(sweep_id, None)

    def _rest(self, sweep_id: str, error: Exception) -> None:
        """MLflow is up, so it is this sweep: the others go on, it is tried again ever more rarely."""
        before = self._sick.get(sweep_id)
        pause = min(before.pause * 2, LONGEST_PAUSE) if before else PAUSE_SECONDS
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        if before is None or before.reason != reason:
            log.error("MLflow does not take sweep %s, trying again: %s", sweep_id, error, exc_info=error)
        self._sick[sweep_id] = _Sick(time.monotonic() + pause, pause, reason)

    def _refill(self, sweep_id: str) -> None:
        with self._database.write(self._term) as session:
            outbox.refill(session, sweep_id)

    def _reach(self) -> None:
        """MLflow answers, and knows what we told it, when this returns. Raises Unreachable."""
        self._probe()
        if self._runs is None:
            os.environ.update(CLIENT)
            for message in ADVICE:
                warnings.filterwarnings("ignore", message)
            mlflow.set_tracking_uri(self._url)
            mlflow.set_registry_uri(self._url)
            logged_models.prepare()
            self._runs = Runs(self._url)
        if not self._runs.experiment_exists():
            self._remember()
        if self._down:
            log.info("MLflow answers at %s", self._url)
        self._down = ""

    def _remember(self) -> None:
        """MLflow knows none of our runs: all of them are told anew, in our tables before anything is created there."""
        with self._database.read() as session:
            told = list(projections.sweeps(session))
        for sweep_id in told:
            log.warning("MLflow has forgotten sweep %s: it is told anew", sweep_id)
            self._refill(sweep_id)
        assert self._runs is not None
        self._runs.experiment()

    def _probe(self) -> None:
        try:
            self._http.get(f"{self._url}/health").raise_for_status()
        except httpx.HTTPError as error:
            raise MlflowUnreachable(
                f"MLflow does not answer at {self._url} ({error}). Training goes on; what it misses is told later"
            ) from error

    def _say_down(self, message: str) -> None:
        if message != self._down:
            log.warning("%s", message)
        self._down = message
        self._note(force=True)

    def _note(self, force: bool = False) -> None:
        if not force and time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        with self._database.write(self._term) as session:
            left = outbox.size(session)
            sick = {sweep_id: s.reason for sweep_id, s in self._sick.items()}
            message = self._down or (f"{len(sick)} sweeps not taken, see the controller's log" if sick else "answers")
            detail = {"url": self._url, "outbox": left, "not_taken": sick}
            components.note(session, "mlflow", not self._down and not sick, message, detail)
        self._noted_at = time.monotonic()


class MlflowUnreachable(RuntimeError):
    """MLflow does not answer."""
