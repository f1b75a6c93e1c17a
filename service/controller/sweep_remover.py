"""The thread that removes what users have deleted: the rows of a sweep and the folders of its checkpoints.

The runs in MLflow are removed by the projector, which is the only one that writes there. Each piece may be interrupted
anywhere and is repeated by the next controller.

No folder is removed because the database lacks a row of it: the store may hold the checkpoints of another service. But
the ids of deleted sweeps are kept for ever, and a folder that bears one, because a runner that had been given up wrote
it late, is removed whenever it is found.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.settings import ControllerSettings
from service.store import removals
from service.store.database import Database, LeadLost
from service.store.tables import RemovedSweep

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""The pause, in seconds, between two looks for deleted sweeps."""
RESCAN_SECONDS = 3600.0
"""The folders of the store are compared with the sweeps deleted before by each new controller, and at this interval."""
NAMES = 500
"""How many folders of the store are compared in one query."""
ASIDE = ".removed-"
"""How the name of a folder begins that is being removed, so that no half of one bears the name of a sweep."""
STOP_SECONDS = 5.0
"""How long ``stop`` waits for the thread."""


class SweepRemover:
    """Removes deleted sweeps in a thread of its own, from ``start`` until ``stop`` or the end of the term.

    Args:
        database: The service's database.
        settings: The controller's settings, of which ``checkpoint_dir`` is used.
        term: The leadership term, checked with every write to the database.
    """

    def __init__(self, database: Database, settings: ControllerSettings, term: int) -> None:
        self._database, self._term = database, term
        self._store = settings.checkpoint_dir.resolve()
        self._scanned_at = float("-inf")
        self._problems: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="removals", daemon=True)

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
                self.remove()
                if time.monotonic() - self._scanned_at >= RESCAN_SECONDS:
                    self.remove_late_folders()
            except LeadLost:
                return  # the controller's own loop logs it
            except (OSError, SQLAlchemyError) as error:
                log.warning("deleted sweeps cannot be removed; trying again: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("unexpected error while removing deleted sweeps; trying again")
            self._stop.wait(LOOK_SECONDS)

    def remove(self) -> None:
        """Remove what is due of the deleted sweeps, and note those of which nothing is left as done.

        Folders that cannot be removed are left for the next call, and do not hold up anything else.

        Raises:
            LeadLost: If another controller leads by now.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used.
        """
        with self._database.read() as session:
            pending = removals.pending(session)
        for removed in pending:
            if removed.rows_at is None:
                self._remove_rows(removed.id)
            if removals.is_due(removed, removed.files_at):
                self._remove_files(removed)
            if self._stop.is_set():
                return
        if pending:
            with self._database.read() as session:
                finishable = any(removals.is_finishable(removed) for removed in removals.pending(session))
            if finishable:
                with self._database.write(self._term) as session:
                    removals.finish(session)

    def remove_late_folders(self) -> None:
        """Remove the folders in the store that bear the ids of sweeps that were deleted, whenever that was."""
        if not self._store.is_dir():
            return
        names = sorted(entry.name.removeprefix(ASIDE) for entry in os.scandir(self._store))
        for start in range(0, len(names), NAMES):
            with self._database.read() as session:
                late = removals.deleted(session, names[start : start + NAMES])
            for sweep_id in late:
                self._try_to_remove(self._store / sweep_id, sweep_id)
        self._scanned_at = time.monotonic()

    def _remove_rows(self, sweep_id: str) -> None:
        more = True
        while more and not self._stop.is_set():
            with self._database.write(self._term) as session:
                more = removals.delete_rows(session, sweep_id)

    def _remove_files(self, removed: RemovedSweep) -> None:
        """Remove the folders of a deleted sweep, and note it if none is left.

        A store that is away is waited for. One that the settings named before, and that is gone, is not.
        """
        before = {folder for folder in map(Path, removed.folders) if folder.parent.is_dir()}
        gone = [self._try_to_remove(folder, removed.id) for folder in sorted(before | {self._store / removed.id})]
        if all(gone):
            with self._database.write(self._term) as session:
                removals.note_files_gone(session, removed.id)

    def _try_to_remove(self, folder: Path, sweep_id: str) -> bool:
        """Remove a folder, and return whether it is gone. A problem is logged once."""
        try:
            _remove_folder(folder)
        except OSError as error:
            problem = f"{error.strerror or error}: {error.filename or folder}"
            if self._problems.get(sweep_id) != problem:
                log.warning("checkpoints of deleted sweep %s cannot be removed; trying again: %s", sweep_id, problem)
            self._problems[sweep_id] = problem
            return False
        self._problems.pop(sweep_id, None)
        return True


def _remove_folder(folder: Path) -> None:
    """Remove a sweep's folder and what an interrupted call has left of it. Of a link, only the link is removed.

    Raises:
        OSError: Something is left, or this machine does not see the store.
    """
    os.stat(folder.parent)  # a store that is away may come back with the folder in it
    aside = folder.with_name(ASIDE + folder.name)
    if folder.is_symlink():
        folder.unlink()  # somebody has moved the folder elsewhere, and that is theirs
    if aside.is_dir():
        shutil.rmtree(aside)
    if folder.is_dir():
        folder.rename(aside)
        shutil.rmtree(aside)
