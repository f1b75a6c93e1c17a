"""The thread that looks after the checkpoint store: removes what no sweep keeps, and notes how full the disk is.

Runners remove the older checkpoints of the trials that they train. What is left of a trial that has ended is reduced
here to what its sweep keeps, once MLflow has its copies. Nothing is removed of a trial that has not ended, nor of one
that is not in the database: the store may hold the checkpoints of another service. A trial may be run again at any
moment: so its files are listed first, then it is made sure that it has not been, and only what was listed is removed.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.settings import ControllerSettings
from service.states import TRIAL_ENDED
from service.store import checkpoint_room, checkpoints, components, outbox, projections, sweeps, trials
from service.store.checkpoint_room import StoreRoom
from service.store.database import Database, LeadLost
from service.store.errors import NotFound
from service.store.tables import Trial, TrialCheckpoint
from workers.checkpoint_files import MANIFEST, bytes_in, folder_name, kept_of, remove, remove_leftovers, steps_in
from workers.spec.sweep import CheckpointsSpec, SweepSpec

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""The pause, in seconds, between two looks at the store."""
PAGE = 200
"""How many ended trials are looked at in each round."""
RESCAN_SECONDS = 3600.0
"""All trials that have ended are looked at by each new controller, and then again at this interval."""
RESERVE_BYTES, RESERVE_SHARE = 2**30, 0.05
"""What is left free on the disk for everything else: so many bytes, or that share of a smaller disk."""
STOP_SECONDS = 5.0
"""How long ``stop`` waits for the thread."""


class CheckpointKeeper:
    """Looks after the checkpoint store in a thread of its own, from ``start`` until ``stop`` or the end of the term.

    Nothing here must survive the process: a new controller begins with the first trial that ended.

    Args:
        database: The service's database.
        settings: The controller's settings, of which ``checkpoint_dir`` and ``checkpoint_bytes`` are used.
        term: The leadership term, checked with every write to the database.
    """

    def __init__(self, database: Database, settings: ControllerSettings, term: int) -> None:
        self._database, self._term = database, term
        self._store, self._limit = settings.checkpoint_dir.resolve(), settings.checkpoint_bytes
        self._after: tuple[float, str] = (0.0, "")
        self._began_at, self._noted_at = time.monotonic(), -LOOK_SECONDS
        self._waiting: dict[str, None] = {}
        self._kept: dict[str, CheckpointsSpec | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Start the thread. It can be started only once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and wait for that at most ``STOP_SECONDS``."""
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                more = self.collect()
                if time.monotonic() - self._noted_at >= LOOK_SECONDS:
                    self.note()
            except LeadLost:
                return  # the controller's own loop logs it
            except (OSError, SQLAlchemyError) as error:
                log.warning("the checkpoint store cannot be looked after; trying again: %s", str(error).splitlines()[0])
                more = False
            except Exception:
                log.exception("unexpected error while looking after the checkpoint store; trying again")
                more = False
            self._stop.wait(0.0 if more else LOOK_SECONDS)

    def collect(self) -> bool:
        """Look at the next trials that have ended, and remove those of their checkpoints that no sweep keeps.

        The database is told afterwards. If that fails, the next controller finds it out, or this one within an hour.

        Returns:
            Whether there are more trials to look at.
        """
        with self._database.read() as session:
            ended = trials.ended_after(session, self._after, PAGE)
            looked_up = list(self._waiting)[:PAGE]
            again = [trial for trial in trials.some(session, looked_up) if trial.state in TRIAL_ENDED]
            ids = [trial.id for trial in (*again, *ended)]
            # MLflow may lack a model because its files could not be read for a while
            unsent = outbox.trials_with_end(session, ids) | projections.incomplete(session, ids)
            rows = checkpoints.there(session, ids)
            specs = {trial.sweep_id: self._spec(session, trial.sweep_id) for trial in (*again, *ended)}
        changed: list[tuple[Trial, list[TrialCheckpoint]]] = []
        for trial_id in looked_up:  # some were run again, or deleted
            self._waiting.pop(trial_id, None)
        for trial in (*again, *ended):
            spec = specs[trial.sweep_id]
            if trial.id in unsent:
                self._waiting[trial.id] = None  # at the end, so that each one gets its turn
            elif spec is not None:
                try:
                    changed.append((trial, self._reduce(trial, rows.get(trial.id, []), spec)))
                except OSError as error:
                    log.warning("checkpoints of trial %s cannot be removed; trying again later: %s", trial.id, error)
        if any(of_trial for _, of_trial in changed):
            self._store_changes(changed)
        if len(ended) == PAGE:
            self._after = (ended[-1].ended_at or 0.0, ended[-1].id)
            return True
        # clocks may be set back, so that a trial ends before one that was looked at
        if time.monotonic() - self._began_at > RESCAN_SECONDS:
            self._after, self._began_at = (0.0, ""), time.monotonic()
        elif ended:
            self._after = (ended[-1].ended_at or 0.0, ended[-1].id)
        return False

    def note(self) -> None:
        """Store how many bytes the checkpoints take and how many are free, from which the API knows it."""
        with self._database.read() as session:
            used, to_come = checkpoints.total_bytes(session), checkpoint_room.bytes_to_come(session)
        disk = shutil.disk_usage(_existing(self._store))
        reserve = min(RESERVE_BYTES, int(disk.total * RESERVE_SHARE))
        room = StoreRoom(used=used, free=disk.free, reserve=reserve, limit=self._limit, to_come=to_come)
        with self._database.write(self._term) as session:
            components.note(session, checkpoint_room.COMPONENT, room.left > 0, room.message, room.detail())
        self._noted_at = time.monotonic()

    def _spec(self, session: Session, sweep_id: str) -> CheckpointsSpec | None:
        """Return what a sweep keeps; None if nothing may be removed.

        That is so if its document is not valid in this version, or if the sweep was deleted at this moment.
        """
        if sweep_id not in self._kept:
            if len(self._kept) > PAGE:
                self._kept.clear()
            try:
                self._kept[sweep_id] = SweepSpec.model_validate(sweeps.get(session, sweep_id).spec).checkpoints
            except (ValidationError, NotFound):
                self._kept[sweep_id] = None
        return self._kept[sweep_id]

    def _store_changes(self, changed: Sequence[tuple[Trial, Sequence[TrialCheckpoint]]]) -> None:
        """Store what has changed in the rows of trials, but not of those that have been run again or deleted since."""
        with self._database.write(self._term) as session:
            for trial, rows in changed:
                if rows and trials.has_same_end(session, trial):
                    checkpoints.update_rows(session, rows)

    def _has_same_end(self, trial: Trial) -> bool:
        with self._database.read() as session:
            return trials.has_same_end(session, trial)

    def _reduce(self, trial: Trial, rows: Sequence[TrialCheckpoint], spec: CheckpointsSpec) -> list[TrialCheckpoint]:
        """Remove the checkpoints of an ended trial that are not to stay, and return the rows that this changes."""
        folder = self._store / trial.sweep_id / trial.id
        if folder.is_symlink() or not self._store.is_dir():
            return []  # somebody has moved the folder elsewhere, or this machine does not see the store
        there: set[int] = set()
        back: list[TrialCheckpoint] = []
        if folder.is_dir():
            remove_leftovers(folder)
            there, noted = set(steps_in(folder)), {row.step for row in rows}
            back = self._back(trial, folder, there - noted)
            kept = kept_of(spec, there & (noted | {row.step for row in back}), trial.best_step)
            # one that no row knows is of an attempt that was lost before its report came
            surplus = there - kept
            if surplus and not self._has_same_end(trial):
                return []
            for step in surplus:
                remove(folder / folder_name(step))
            there = set(steps_in(folder))
        changed = []
        for row in (*rows, *back):
            removed = row.step not in there
            if removed == (row.removed_at is not None) and (removed or row.size is not None):
                continue
            row.removed_at = time.time() if removed else None
            row.size = row.size if removed else row.size or bytes_in(folder / folder_name(row.step))
            changed.append(row)
        return changed

    def _back(self, trial: Trial, folder: Path, steps: Collection[int]) -> list[TrialCheckpoint]:
        """Return the rows of whole checkpoints that were noted as removed, and are there: their disk was away."""
        whole = [step for step in steps if (folder / folder_name(step) / MANIFEST).is_file()]
        if not whole:
            return []
        with self._database.read() as session:
            return checkpoints.at_steps(session, trial.id, whole)


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())
