"""How MLflow is doing: whether it answers, which sweeps it does not take, and the note of it that the API shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from service.store import components, outbox
from service.store.database import Database

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
NOTE_SECONDS = 3.0
"""Between two notes."""
PROBE_SECONDS = 5.0
"""How long MLflow may take for its health check."""
REASON_LENGTH = 200


class MlflowUnreachable(RuntimeError):
    """MLflow does not answer."""


def next_pause(pause: float) -> float:
    """Return the pause after another failure: twice the last one, up to a limit."""
    return min(pause * 2, LONGEST_PAUSE_SECONDS)


class Probe:
    """MLflow's health check, through one HTTP client: a new client for each call would load certificates each time."""

    def __init__(self, url: str) -> None:
        self._url, self._http = url, httpx.Client(timeout=PROBE_SECONDS)

    def check(self) -> None:
        """Raise MlflowUnreachable if MLflow does not answer."""
        try:
            self._http.get(f"{self._url}/health").raise_for_status()
        except httpx.HTTPError as error:
            raise MlflowUnreachable(
                f"MLflow does not answer at {self._url} ({error}). Training goes on; MLflow gets the rest later"
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@dataclass
class _RejectedSweep:
    """A sweep that MLflow, though it answers, does not take."""

    retry_at: float
    pause: float
    reason: str


class RejectedSweeps:
    """The sweeps that MLflow does not take. Each is tried again after ever longer pauses; the others go on."""

    def __init__(self) -> None:
        self._sweeps: dict[str, _RejectedSweep] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each sweep was not taken."""
        return {sweep_id: sweep.reason for sweep_id, sweep in self._sweeps.items()}

    def pausing(self) -> list[str]:
        """Return the sweeps that are not to be tried yet."""
        now = time.monotonic()
        return [sweep_id for sweep_id, sweep in self._sweeps.items() if sweep.retry_at > now]

    def add(self, sweep_id: str, error: Exception) -> None:
        """Note that MLflow did not take a sweep, and log it if the reason is new."""
        before = self._sweeps.get(sweep_id)
        pause = next_pause(before.pause) if before else FIRST_PAUSE_SECONDS
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:REASON_LENGTH]
        if before is None or before.reason != reason:
            log.error("MLflow does not take sweep %s; trying again: %s", sweep_id, error, exc_info=error)
        self._sweeps[sweep_id] = _RejectedSweep(time.monotonic() + pause, pause, reason)

    def remove(self, sweep_id: str) -> None:
        """Note that MLflow took a sweep."""
        self._sweeps.pop(sweep_id, None)

    def retry_now(self) -> None:
        """End all pauses."""
        self._sweeps.clear()


class HealthNotes:
    """The note of MLflow's health in the database, which the API shows."""

    def __init__(self, database: Database, term: int, url: str, reasons: Callable[[], dict[str, str]]) -> None:
        self._database, self._term, self._url, self._reasons = database, term, url, reasons
        self._noted_at = 0.0
        self._failure = ""

    @property
    def is_down(self) -> bool:
        """Whether MLflow did not answer when it was last asked."""
        return bool(self._failure)

    def set_down(self, failure: str) -> None:
        """Note that MLflow does not answer, and log it if that is new."""
        if failure != self._failure:
            log.warning("%s", failure)
        self._failure = failure
        self.write(force=True)

    def set_up(self) -> None:
        """Note that MLflow answers, and log it if it did not before."""
        if self._failure:
            log.info("MLflow answers at %s", self._url)
        self._failure = ""

    def write(self, *, force: bool = False) -> None:
        """Write the note, unless the last one is younger than ``NOTE_SECONDS``."""
        if not force and time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        reasons = self._reasons()
        rejected = f"{len(reasons)} sweeps not taken; the controller's log says why" if reasons else "answers"
        with self._database.write(self._term) as session:
            detail = {"url": self._url, "outbox": outbox.size(session), "not_taken": reasons}
            components.note(session, "mlflow", not self._failure and not reasons, self._failure or rejected, detail)
        self._noted_at = time.monotonic()
