"""Notices what was deleted, purged or restored in MLflow beside what is being written, and has it written again.

An experiment or a run that is in MLflow's trash was deleted by somebody. One that is gone and was seen in the trash
before was purged, which is final. One that is gone without having been seen there was lost, with MLflow's database or
a part of it, and is written again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

from service.store import components, outbox, projections
from service.store.database import Database
from service.tracking.mlflow_experiments import is_deleted
from service.tracking.mlflow_runs import Runs

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""The least time, in seconds, between two looks for deleted and restored runs."""
LOOKED_AT = 100
"""How many runs are looked at each time; the next look goes on with those after them, so that its cost is bounded."""


@dataclass
class _Seen:
    """An experiment as it was last seen.

    Attributes:
        created: When it was created, in milliseconds since 1970. MLflow may give the id of a purged experiment to
            another one.
        deleted: Whether it was in MLflow's trash.
    """

    created: int
    deleted: bool


class Deletions:
    """Compares the runs and experiments in the database with those in MLflow.

    Args:
        database: The service's database.
        term: The leadership term, checked with every write.
        runs: The service's runs in MLflow.
    """

    def __init__(self, database: Database, term: int, runs: Runs) -> None:
        self._database, self._term, self._runs = database, term, runs
        self._after = {False: "", True: ""}
        self._looked_at = -LOOK_SECONDS
        with database.read() as session:
            row = components.get(session, "mlflow")
        known: dict[str, Any] = row.detail.get("experiments", {}) if row else {}
        self._seen = {experiment_id: _Seen(**seen) for experiment_id, seen in known.items()}

    def experiments(self) -> dict[str, Any]:
        """Return the experiments as they were last seen, by id, for the next controller's ``Deletions``."""
        return {experiment_id: asdict(seen) for experiment_id, seen in self._seen.items()}

    def check_experiments(self) -> None:
        """Look whether MLflow still has the experiments that hold our runs, and refill the outbox if not.

        Of an experiment that was purged, only the sweeps of which more is to be written get new runs; of one that was
        lost, all of them do.
        """
        with self._database.read() as session:
            ids = projections.experiments(session)
        for experiment_id in ids:
            found, before = self._runs.experiments.get(experiment_id), self._seen.get(experiment_id)
            if found is None or (before and before.created != found.creation_time):
                self._write_again(experiment_id, purged=before is not None and before.deleted)
            else:
                self._seen[experiment_id] = _Seen(int(found.creation_time or 0), is_deleted(found))
        self._seen = {experiment_id: seen for experiment_id, seen in self._seen.items() if experiment_id in ids}

    def check_runs(self) -> None:
        """Look at some of the runs, unless that was done less than ``LOOK_SECONDS`` ago.

        Those that are in MLflow's trash are marked as deleted. Those that were restored from it get what they missed.
        """
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        for subject_id in self._changed(deleted=False):
            log.warning("the MLflow run of %s was deleted; it gets nothing until it is restored there", subject_id)
            with self._database.write(self._term) as session:
                projections.mark_deleted(session, [subject_id])
        for subject_id in self._changed(deleted=True):
            log.warning("the MLflow run of %s was restored; it gets what it missed", subject_id)
            with self._database.write(self._term) as session:
                outbox.restored(session, subject_id)

    def _changed(self, *, deleted: bool) -> list[str]:
        """Return the sweeps and trials, of the next few, whose runs are no longer ``deleted``, or are so now."""
        with self._database.read() as session:
            rows = projections.page(session, deleted=deleted, after=self._after[deleted], limit=LOOKED_AT)
        self._after[deleted] = rows[-1].subject_id if len(rows) == LOOKED_AT else ""
        experiments = {row.experiment_id for row in rows}
        active = {experiment_id for experiment_id in experiments if self._runs.experiments.is_active(experiment_id)}
        subjects = {row.run_id: row.subject_id for row in rows if row.experiment_id in active}
        found = self._runs.among(sorted(active), list(subjects), deleted=not deleted)
        changed = [row for row in rows if row.run_id in found]
        # the runs of an experiment are in the trash with it: they count only if it was not deleted in the meantime
        theirs = {row.experiment_id for row in changed}
        still = {experiment_id for experiment_id in theirs if self._runs.experiments.is_active(experiment_id)}
        return [row.subject_id for row in changed if row.experiment_id in still]

    def _write_again(self, experiment_id: str, *, purged: bool) -> None:
        """Have the sweeps of an experiment written again that MLflow has no longer.

        Args:
            experiment_id: The experiment.
            purged: Whether it was in MLflow's trash before, so that its sweeps that have ended are not wanted.
        """
        with self._database.read() as session:
            of_experiment = projections.sweeps_in(session, experiment_id)
        for sweep_id, unfinished in of_experiment.items():
            again = unfinished or not purged
            log.warning(
                "MLflow no longer has experiment %s with sweep %s; %s",
                experiment_id,
                sweep_id,
                "writing it again" if again else "it was deleted there, so it is not written again",
            )
            with self._database.write(self._term) as session:
                if again:
                    outbox.refill(session, sweep_id)
                else:
                    projections.mark_sweep_deleted(session, sweep_id)
        # the next experiment may get the same id
        self._seen.pop(experiment_id, None)
