"""MLflow's health: the check whether it answers, the sweeps that it rejects, and the note of both for the API."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from mlflow.environment_variables import MLFLOW_TRACKING_INSECURE_TLS

from service.http_client import CERTIFICATES, ConnectionUnusable, http_client, reason, without_password
from service.store import components, outbox, projections
from service.store.database import Database
from service.tracking.error_words import broke_off, in_words

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
"""The pause after the first failure to write a sweep."""
LONGEST_PAUSE_SECONDS = 10.0
"""The longest pause after a failure."""
NOTE_SECONDS = 3.0
"""The least time, in seconds, between two notes of MLflow's health in the database."""
PROBE_SECONDS = 5.0
"""How many seconds MLflow may take to answer its health check."""
MLFLOW_CERTIFICATES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", *CERTIFICATES)
"""Variables that name the certificates to trust in MLflow's server: those that MLflow's client reads, and ours."""
ADMISSION = (401, 403)
"""Statuses of a server that answers, but wants to know who asks."""
LACKS_SECONDS = 86_400.0
"""For how many seconds after a sweep's end the health says what MLflow lacks of it; the sweep itself always says it."""
SHOWN = 20
"""The largest number of sweeps and trials of which the health's detail says what MLflow lacks."""


class MlflowUnreachable(RuntimeError):
    """MLflow does not answer its health check, or answers it with an error status."""


def next_pause(pause: float) -> float:
    """Return the pause, in seconds, after another failure: twice the last pause, up to LONGEST_PAUSE_SECONDS."""
    return min(pause * 2, LONGEST_PAUSE_SECONDS)


class Probe:
    """Asks MLflow for its health, through one HTTP client: a new client for each call would load certificates anew.

    Args:
        url: The address of the MLflow server, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: httpx.Client | None = None

    def check(self) -> None:
        """Return if MLflow answers its health check with success; else raise MlflowUnreachable."""
        try:
            self._http = self._http or http_client(
                self._url,
                timeout=PROBE_SECONDS,
                certificates=MLFLOW_CERTIFICATES,
                verified=not MLFLOW_TRACKING_INSECURE_TLS.get(),  # type: ignore[no-untyped-call]
            )
            answer = self._http.get(f"{self._url}/health")
            if answer.status_code not in ADMISSION:  # the client of MLflow shows its credentials; this check has none
                answer.raise_for_status()
        except (httpx.HTTPError, ConnectionUnusable) as error:
            raise MlflowUnreachable(
                f"MLflow does not answer at {without_password(self._url)}: {reason(error)}. Start it, or set "
                "SPECTRAL_MLFLOW_URL. Training goes on, and MLflow gets the rest later"
            ) from error

    def close(self) -> None:
        """Close the HTTP client's connections."""
        if self._http is not None:
            self._http.close()


@dataclass
class _RejectedSweep:
    """A sweep that could not be written to MLflow although MLflow answers.

    Attributes:
        retry_at: When it is to be tried again, on the monotonic clock.
        pause: The pause before that, in seconds.
        reason: What the last error means, for a person to read.
        shown: Whether the health says so. A connection that broke off once is none of its business.
    """

    retry_at: float
    pause: float
    reason: str
    shown: bool


class RejectedSweeps:
    """Keeps the sweeps that could not be written although MLflow answers, and when each is to be tried again.

    The pauses of a sweep get longer with each failure. Other sweeps do not wait for it.
    """

    def __init__(self) -> None:
        self._sweeps: dict[str, _RejectedSweep] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """The last error of each sweep that could not be written, by the sweep's id.

        It leaves out sweeps of which only the connection has broken off, and only once.
        """
        return {sweep_id: sweep.reason for sweep_id, sweep in self._sweeps.items() if sweep.shown}

    def pausing(self) -> list[str]:
        """Return the ids of the sweeps whose pause has not ended."""
        now = time.monotonic()
        return [sweep_id for sweep_id, sweep in self._sweeps.items() if sweep.retry_at > now]

    def add(self, sweep_id: str, error: Exception) -> None:
        """Note that a sweep could not be written because of ``error``, and log it if this is new for the sweep."""
        before = self._sweeps.get(sweep_id)
        pause = next_pause(before.pause) if before else FIRST_PAUSE_SECONDS
        reason, shown = in_words(error), before is not None or not broke_off(error)
        if not shown:
            log.warning("the connection to MLflow broke off while sweep %s was written; trying again", sweep_id)
        elif before is None or before.reason != reason:
            log.error(
                "sweep %s cannot be written to MLflow, which answers; trying again: %s", sweep_id, error, exc_info=error
            )
        self._sweeps[sweep_id] = _RejectedSweep(time.monotonic() + pause, pause, reason, shown)

    def remove(self, sweep_id: str) -> None:
        """Note that a sweep was written; do nothing if it was not noted as rejected."""
        self._sweeps.pop(sweep_id, None)

    def retry_now(self) -> None:
        """Forget all rejected sweeps with their reasons and pauses, so that they are tried again at once."""
        self._sweeps.clear()


class HealthNotes:
    """Writes MLflow's health to the database, from which the API shows it.

    Args:
        database: The service's database.
        term: The leadership term, checked with every write.
        url: The address of the MLflow server.
        reasons: Returns why each rejected sweep could not be written, by the sweep's id.
        experiments: Returns what the next controller has to know of the experiments that hold our runs; None if this
            one has not asked MLflow yet.
    """

    def __init__(
        self,
        database: Database,
        term: int,
        url: str,
        reasons: Callable[[], dict[str, str]],
        experiments: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._database, self._term, self._url = database, term, url
        self._reasons, self._experiments = reasons, experiments
        self._noted_at = 0.0
        self._failure = ""

    @property
    def is_down(self) -> bool:
        """Whether ``set_down`` was called after the last ``set_up``."""
        return bool(self._failure)

    def set_down(self, failure: str) -> None:
        """Write to the database that MLflow does not answer, and log ``failure`` if it is not the last one."""
        if failure != self._failure:
            log.warning("%s", failure)
        self._failure = failure
        self.write(force=True)

    def set_up(self) -> None:
        """Keep for the next ``write`` that MLflow answers, and log it if it did not before."""
        if self._failure:
            log.info("MLflow answers at %s", self._url)
        self._failure = ""

    def write(self, *, force: bool = False) -> None:
        """Write the health to the database, unless that was done less than ``NOTE_SECONDS`` ago.

        Args:
            force: Write it in any case.
        """
        if not force and time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        reasons = self._reasons()
        with self._database.write(self._term) as session:
            lacks = projections.lacking(session, time.time() - LACKS_SECONDS)
            before, experiments = components.get(session, "mlflow"), self._experiments()
            if experiments is None:
                experiments = before.detail.get("experiments", {}) if before else {}
            detail = {
                "url": without_password(self._url),
                "outbox": outbox.size(session),
                "not_taken": reasons,
                "lacks": dict(list(lacks.items())[:SHOWN]),
                "experiments": experiments,
            }
            message = self._failure or "; ".join(["answers", *_rejected(reasons), *_lacking(lacks)])
            components.note(session, "mlflow", not self._failure and not reasons, message, detail)
        self._noted_at = time.monotonic()


def _rejected(reasons: dict[str, str]) -> list[str]:
    """Return a sentence about the sweeps that cannot be written; none if there are none."""
    if not reasons:
        return []
    sweep_id, reason = next(iter(reasons.items()))
    others = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return [f"sweep {sweep_id}{others} cannot be written: {reason}"]


def _lacking(lacks: dict[str, str]) -> list[str]:
    """Return a sentence about what MLflow lacks for good, or until somebody restores it; none if nothing."""
    if not lacks:
        return []
    subject, reason = next(iter(lacks.items()))
    others = f", and {len(lacks) - 1} more" if len(lacks) > 1 else ""
    return [f"lacks a part of {subject}{others}: {reason}"]
